"""Options in every combination: each is used, or refused in one line before any work."""

import argparse
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipddpm.cli import main
from dipddpm.cli.command_line import parser
from dipddpm.errors import InputError
from dipddpm.experiments.axes import axes_of
from dipddpm.experiments.profiles import PROFILES, all_axes, profile
from dipddpm.session.opening import _check_budgets, check_given

VALUES = [
    "0", "1", "-1", "2", "1000000", "1" * 5000, "1e400", "nan", "inf", "", " ", ",", "1,2,3", "0.5", "x",
    "\x1b[31m", "²",    "none", "skip", "dip", "psnr", "inpaint", "red", "es-wmv", "../x", "a=b", "é", "--", "1,,2",
]  # fmt: skip
SOME = dict(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("train --out x --prior blur", "--prior would not be used: it needs an injection that shows a prior"),
        ("train --out x --dip-iterations 200", "--dip-iterations would not be used: it needs an injection"),
        ("train --out x --injection weights --cache c", "--cache would not be used"),
        ("train --out x --dataset folder:p --data-root d", "--data-root would not be used: it needs a data set that"),
        (
            "generate --out x --count 1 --prior blur",
            "--prior would not be used: it needs photographs to make",
        ),
        ("calibrate b.json --only quality --hogs 3", "--hogs would not be used: it needs --only hog"),
        ("score g --reference folder:p --data-root d", "--data-root would not be used"),
    ],
)
def test_an_option_that_would_not_be_used_is_refused(options, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(options.split()) == 2
    assert message in capsys.readouterr().err and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images=1,2,3", "it takes one value, and not 3"),
        ("seeds=100000", "every value must be at most 100"),
        ("images=" + "1" * 5000, "every value must be int"),
        ("task=inpaint,", "a name is missing"),
        ("trials=2000000", "every value must be at most 1000000"),
    ],
)
def test_an_axis_that_nothing_can_be_done_with(text, message):
    with pytest.raises(InputError, match=message):
        profile("quick").override([text])


@pytest.mark.parametrize("name", ["nfe", "noise.nfe", "offer", "grid.nfe"])
def test_evaluations_that_no_solver_has_a_use_for(name):
    with pytest.raises(InputError, match=f"--axis {name}=1000000: the denoiser has 1000 steps"):
        _check_budgets(profile("quick").override([f"{name}=1000000"]).restoration, 1000)


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_ask_for_nothing_that_is_refused(name):
    _check_budgets(profile(name).restoration, 1000)


@pytest.mark.parametrize(
    "changed",
    [{"seed": -1}, {"seed": 2**63}, {"data_root": Path("d")}, {"dedicated": True}],
)
def test_options_of_a_session_that_have_no_use(changed):
    plain = {"seed": 0, "data_root": None, "dataset": "photo-patches", "dedicated": False, "baseline": None}
    check_given(argparse.Namespace(**plain))
    with pytest.raises(InputError):
        check_given(argparse.Namespace(**plain | changed))


def test_nothing_is_trained_into_a_device(capsys):
    assert main(["train", "--out", "/dev/null"]) == 2
    assert "/dev/null: cannot be written: choose another --out" in capsys.readouterr().err


@settings(max_examples=500, **SOME)
@given(st.lists(st.tuples(st.sampled_from(sorted(all_axes())), st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_five_hundred_configurations_are_taken_or_refused(pairs):
    try:
        made = profile("smoke").override([f"{name}={value}" for name, value in pairs])
        _check_budgets(made.restoration, 1000)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 3000
    else:
        assert made.decides() and {option for part in (made, made.restoration) for option in axes_of(part)}


def verbs(p):
    """Every verb with its parser, by the words that ask for it."""
    for action in p._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                inner = list(verbs(verb))
                yield from ((f"{name} {below}", found) for below, found in inner)
                if not inner:
                    yield name, verb


VERBS = dict(verbs(parser()))


@st.composite
def command_lines(draw):
    """A verb with hostile values for some of its options."""
    name = draw(st.sampled_from(sorted(VERBS)))
    actions = [a for a in VERBS[name]._actions if not isinstance(a, argparse._HelpAction | argparse._VersionAction)]
    words = name.split()
    for action in actions:
        wanted = action.required and draw(st.integers(0, 9)) > 0
        if wanted or (action.option_strings and draw(st.integers(0, 3)) == 0):
            value = [] if action.nargs == 0 else [draw(st.sampled_from(VALUES))]
            words += [*action.option_strings[-1:], *value]
    return words


class Work(Exception):
    """The verb was asked to work."""


def test_command_lines_reach_the_work_or_are_refused():
    settings(max_examples=60, **SOME)(given(command_lines())(reaches_the_work_or_is_refused))()


@pytest.mark.long
def test_five_hundred_command_lines_reach_the_work_or_are_refused():
    settings(max_examples=500, **SOME)(given(command_lines())(reaches_the_work_or_is_refused))()


def reaches_the_work_or_is_refused(words):
    # the verbs themselves are tested elsewhere: here every option has been read when the module of a verb is imported
    def begin(name):
        raise Work

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dipddpm.cli.import_module", begin)
        patch.setattr(sys, "argv", ["dipddpm", *words])
        try:
            code = main(words)
        except SystemExit as stopped:
            code = stopped.code
    assert code in (0, 2, 70), "0: it only prints; 70: it was about to begin"
