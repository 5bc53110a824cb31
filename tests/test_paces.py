"""Seconds that arms are charged by: measured in turns on a clock that drifts, and what their intervals leave open."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from planted import experiment, record, run

from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architecture_class
from dipddpm.experiments import stage_times
from dipddpm.experiments.stage_times import Estimates, Evaluations, Looks, Passes, time_stages
from dipddpm.experiments.stages import images
from dipddpm.fitting import fitting_method
from dipddpm.fitting.iteration import Iteration
from dipddpm.fitting.red import Red
from dipddpm.measure.instruments.interleaved_timing import in_turns, timed
from dipddpm.measure.measured_paces import ROUNDS, Pace, median_interval
from dipddpm.measure.record import MeasureError, Run
from dipddpm.priors import Evidence, prior
from dipddpm.report import pace_table
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, write
from dipddpm.report.sentence import sentence
from dipddpm.report.verdict import verdict
from dipddpm.rng import ImageRng
from dipddpm.session.stage_paces import measured
from dipddpm.stopping import stopping_rule_class
from dipddpm.tasks import task

NARROW, WIDE = 0.01, 0.20  # of the intervals, as a share of the median to either side


class Machine:
    """A clock that moves as work is done, each second of work taking longer than the one before."""

    def __init__(self, drift=0.0):
        self.now, self.drift, self.done = 0.0, drift, 0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.done += 1
        self.now += seconds * (1 + self.drift * self.done)


def pace(stage, key, seconds, width=NARROW):
    """A pace whose interval is ``width`` wide to either side."""
    spread = np.linspace(-1, 1, ROUNDS) / np.linspace(-1, 1, ROUNDS)[-2]  # the interval ends at the last but one
    return Pace(stage, key, "pass", 8, tuple(seconds * (1 + width * spread)))


def test_stages_that_drift_together_keep_their_ratio_where_one_after_the_other_they_would_not():
    machine = Machine(drift=0.02)
    turns = {name: timed(lambda s=s: machine.work(s), machine) for name, s in (("a", 1.0), ("b", 1.0))}
    taken = in_turns(turns, ROUNDS)
    (a, b), alone = (np.median(taken[name]) for name in "ab"), Machine(drift=0.02)
    apart = [in_turns({"x": timed(lambda: alone.work(1.0), alone)}, ROUNDS)["x"] for _ in "ab"]
    assert b / a < 1.02 and np.median(apart[1]) / np.median(apart[0]) > 1.15


def test_a_turn_that_was_disturbed_does_not_count_and_neither_does_the_first():
    durations = {"a": [90, 1, 1, 50, 1, 1], "b": [2, 2, 2, 2, 70, 2]}
    taken = in_turns({name: lambda name=name: durations[name].pop(0) for name in "ab"}, rounds=5)
    assert taken == {"a": [1, 1, 50, 1, 1], "b": [2, 2, 2, 70, 2]} and np.median(taken["a"]) == 1


@pytest.mark.parametrize(("n", "left_out"), [(1, 0), (5, 0), (7, 0), (8, 0), (9, 1), (11, 1), (12, 2), (30, 9)])
def test_the_interval_of_a_median_is_that_of_the_table(n, left_out):
    """Conover 1999, table A3: of 9 values the second smallest and second largest, of 30 the tenth from either end."""
    assert median_interval(list(range(n))[::-1]) == (left_out, n - 1 - left_out)


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = [
        low <= 1.0 <= high for low, high in (median_interval(rng.exponential(1 / np.log(2), 9)) for _ in range(4000))
    ]
    assert 0.955 < np.mean(held) < 0.967, "1 - 20 / 512"


def test_a_machine_that_does_not_keep_its_pace_says_so():
    made = experiment(+2.0, +2.0)
    made.paces = [pace("diffusion", "evaluation", 0.01), pace("dip", "fit a", 0.1, width=0.3)]
    assert [p.is_steady for p in made.paces] == [True, False]
    assert not replace(made.paces[0], samples=made.paces[0].samples[:6]).is_steady, "too few rounds"
    text = markdown(made, frame(made))
    said = (
        "**The machine was too unsteady for 1 of 2 paces: their intervals are wider than 25% of the median (the "
        "widest, 60%: fit a)"
    )
    assert text.count(said) == 2, "at the top, and beside the table"
    made.paces = made.paces[:1]
    assert "unsteady" not in markdown(made, frame(made))


def test_paces_come_back_from_a_run_file_and_a_run_without_any_is_read_as_before(tmp_path):
    made = experiment(+2.0, +2.0)
    made.save(tmp_path / "older.json")
    assert "paces" not in json.loads((tmp_path / "older.json").read_text())
    older = Run.load(tmp_path / "older.json")
    assert older.paces == [] and "no paces were measured in turns" in markdown(older, frame(older))
    made.paces = [pace("dip", "fit a", 0.1)]
    made.save(tmp_path / "run.json")
    found = Run.load(tmp_path / "run.json")
    assert found.paces[0].interval == pytest.approx((0.099, 0.101)) and found.paces[0].unit == "pass"
    text = json.loads((tmp_path / "run.json").read_text())
    text["paces"][0]["samples"] = [0.1, -1]
    (tmp_path / "bad.json").write_text(json.dumps(text))
    with pytest.raises(MeasureError, match=r"bad\.json: not a run file of dipddpm .*paces\[0\]\.samples\[1\]"):
        Run.load(tmp_path / "bad.json")


def test_a_measured_pace_is_charged_and_not_the_median_of_single_executions(tmp_path):
    """16, 20 and 24 s were taken for equal fits on three tasks; each is charged 100 passes of 0.1 s."""
    x, keys = np.arange(16.0), {"dip": "fit a", "diffusion": "evaluation"}
    fits = [
        replace(record("dip a 100", "treatment", x, family="a", dip=dip, iterations=100, pace=keys), group=group)
        for group, dip in (("inpaint", 16.0), ("super_resolution", 20.0), ("denoise_25", 24.0))
    ]
    other = record("dip b 100", "treatment", x, family="b", dip=7.0, iterations=100, pace={"dip": "fit b"})
    made = run([*fits, other])
    made.paces = [pace("dip", "fit a", 0.1), pace("diffusion", "evaluation", 0.02)]
    charged = {s.record.group: dict(s.seconds) for s in Comparisons(made).samples if s.record.family == "a"}
    assert list(charged.values()) == [pytest.approx({"dip": 10.0, "diffusion": 0.1})] * 3
    table = pace_table.frame(made).set_index("work")
    assert table.loc["fit a", "measured"] == "in turns" and table.loc["fit a", "high"] == pytest.approx(0.101)
    assert table.loc["fit b", "measured"] == "median of single executions" and table.loc["fit b", "seconds"] == 0.07
    write(made, frame(made), tmp_path)
    assert (tmp_path / "paces.csv").exists() and "<details><summary>3 kinds of work" in (
        tmp_path / "leaderboard.md"
    ).read_text()


# What the intervals leave open


def close_call(width, better=0.5):
    """A treatment of 1.05 s, of which 1 s is its DIP, and noise at 21 evaluations that costs 1.05 s too, to 0.2 %.

    Noise at 21 is better than the treatment by ``better`` dB; the start that is certainly as cheap is worse than it.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(22, 2, 16)

    def arm(name, role, above, **options):
        values = x + above + rng.normal(0, 0.2, 16)
        scores = {"psnr": float(values.mean()), "st_lpips": -float(values.mean())}
        made = record(name, role, values, lpips=-values, validation=scores, chosen=["psnr", "st_lpips"], **options)
        keys = {"dip": "fit a"} if "dip" in made.seconds else {}
        return replace(made, pace=keys | ({"diffusion": "evaluation"} if "diffusion" in made.seconds else {}))

    made = run([
        arm("dip a 100", "treatment", 0.0, family="a", dip=1.0, iterations=100, budget=5),
        arm("dip a 100 alone", "part", -2.0, family="a", dip=1.0, iterations=100, budget=0),
        arm("noise", "control", better, budget=105),
        arm("noise", "control", -2.0, budget=5),
        arm("noise", "control", 3.0, budget=400),
    ])  # fmt: skip
    made.paces = [pace("dip", "fit a", 0.01, width), pace("diffusion", "evaluation", 0.010005, width)]
    return made


def test_rivals_that_change_within_the_interval_are_said_beside_the_verdict():
    made = close_call(WIDE)
    found = verdict(Comparisons(made), "task")
    assert found.outcome == "pays" and set(found.could_be) == {"pays", "does not pay", "cannot tell"}
    assert {(o.judge, o.role) for o in found.open} == {("psnr", "control"), ("st_lpips", "control")}
    assert [(s.record.budget, s.record.arm) for s in found.open[0].close] == [(105, "noise")]
    text = sentence(found, made)
    assert "whether noise, 105 NFE (1.05 s) costs more than the 1.05 s of dip a 100, 5 NFE is open" in text
    assert "the best one could be noise, 105 NFE or noise, 5 NFE" in text
    assert "**The verdict could then be: does not pay" in text


def test_paces_that_are_sharp_enough_leave_nothing_open():
    made = close_call(0.0001)
    found = verdict(Comparisons(made), "task")
    assert found.open == () and found.could_be == ("pays",) and "intervals of the paces" not in sentence(found, made)


def test_a_close_rival_that_is_not_the_best_changes_no_verdict_and_that_is_said_too():
    made = close_call(WIDE, better=-2.5)
    found = verdict(Comparisons(made), "task")
    assert found.could_be == ("pays",) and "the best one stays the same. The verdict stays the same." in sentence(
        found, made
    )


def test_a_pace_that_two_share_moves_both():
    """The DIP alone costs less than with the diffusion after it, however unsure the price of a pass is."""
    made = close_call(0.9)
    found = verdict(Comparisons(made), "task")
    assert all(o.role == "control" for o in found.open)


# Measuring them


@pytest.fixture(scope="module")
def works():
    observation = task("denoise_25").observe(images(3, 32), ImageRng(range(3)))
    denoiser, seeds = open_denoiser("unet"), [0, 1, 2]

    def passes(way):
        method = fitting_method(way).with_denoiser(denoiser)
        return Passes(architecture_class("deep_decoder"), observation, seeds, 32, None, method)

    return {
        ("dip", "plain"): passes("plain"),
        ("dip", "red"): passes("red"),
        ("diffusion", "evaluation"): Evaluations(denoiser, observation, seeds),
        ("prior", "blur"): Estimates(prior("blur"), Evidence(observation)),
        ("stopping", "es-wmv"): Looks(stopping_rule_class("es-wmv"), 20, images(3, 32)),
    }


def test_every_kind_of_work_is_measured_once_and_found_again(works):
    calls = []

    def memo(function, arguments, aside):
        calls.append(list(arguments["works"]))
        return SimpleNamespace(value=function(**arguments | {"rounds": 2}, **aside))

    ticks = iter(range(10**6))
    paces = measured(works, memo, lambda: float(next(ticks)))
    assert calls == [sorted(f"{stage}: {key}" for stage, key in works)], "one series"
    found = {(p.stage, p.key): p for p in paces}
    assert {at: p.unit for at, p in found.items()} == {at: work.unit for at, work in works.items()}
    assert all(len(p.samples) == 2 and p.seconds > 0 and p.batch == 3 for p in paces)
    assert measured({}, memo, None) == []


def test_a_pass_is_charged_for_what_is_done_every_few_iterations_and_for_no_building(works, monkeypatch):
    clock = Machine()

    def takes(seconds, where, name):
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a: clock.work(seconds) or real(*a))

    takes(100, stage_times, "build"), takes(1, Iteration, "__call__"), takes(5, Red, "denoised")
    some = {name: works["dip", name] for name in ("plain", "red")}
    found = time_stages(some, 1, clock)
    assert found["plain"]["samples"] == [pytest.approx(1 / 3)], "per pass and image"
    assert found["red"]["samples"] == [pytest.approx((10 + 5) / 10 / 3)], "non-local means once in ten iterations"


def test_work_that_is_over_at_once_is_repeated_within_a_turn():
    machine = Machine()
    short = SimpleNamespace(turn=lambda clock: (timed(lambda: machine.work(0.001), clock), 2, 5))
    found = time_stages({"short": short}, 3, machine)["short"]
    assert machine.done == 1 + 3 * 20, (
        "20 ms a turn: one to see how long it takes, and no further round that is not measured"
    )
    assert found["samples"] == [pytest.approx(0.001 / 2 / 5)] * 3
