"""Every kind of stored result notices a change of any line that can change its numbers, and of no word.

The calls are those of a small session over every experiment, made for real. What can change a result is not listed: a
profile hook sees which modules' code runs while the result is computed, and each of them has to be part of its key.
"""

import ast
import contextlib
import importlib
import sys
import textwrap
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch

import dipddpm.device
import dipddpm.dip
import dipddpm.priors
from dipddpm import registry
from dipddpm.data import open_dataset
from dipddpm.denoisers import open_denoiser
from dipddpm.dip import DeepImagePrior
from dipddpm.dip.deep_decoder import DeepDecoder
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.population_cells import score_floor, score_population
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.recipes import dip_flops
from dipddpm.injection import injection
from dipddpm.measure import content
from dipddpm.measure.content import describe_call, digest, modules_of_call
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Call
from dipddpm.population import population_metrics
from dipddpm.restore import Setting
from dipddpm.session.experiments import Experiments
from dipddpm.sweep.stand_ins import stand_in

pytestmark = pytest.mark.long

KINDS = {
    "fit_observations", "tune", "run_arm", "make_prior", "initial_weights", "train_stretch", "time_updates",
    "check_network", "judge_restorations", "sample_population", "score_population", "score_floor", "dip_flops",
}  # fmt: skip
# What a computation is timed by, and handed on to, decides nothing of its result.
SOURCE = content._source
LOOKS_ON = ("dipddpm.measure.instruments.timer", "dipddpm.memo")


class Watched:
    """A memo that computes every call and keeps it, with the modules of this package, and of ``packages``, whose code
    ran."""

    def __init__(self, *packages):
        self.packages = ("dipddpm", *packages)
        self.calls = {}

    def __call__(self, function, arguments, *, aside=None, run=None):
        ran = set()

        def watch(frame, event, arg):
            if event == "call":
                ran.add(frame.f_globals.get("__name__", ""))

        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            value = function(**arguments, **(aside or {}))
        finally:
            sys.setprofile(before)
        ran = {name for name in ran if name.partition(".")[0] in self.packages and name not in LOOKS_ON}
        self.calls.setdefault(function.__name__, []).append((function, arguments, ran))
        return SimpleNamespace(value=value, seconds=1.0, memory=0)


def small_session(memo, architecture="deep_decoder", prior="dip"):
    """One call at least of every kind, with a task that noise enters and one that is projected."""
    chosen = profile("smoke").override(
        [
            "images=2", "validation_images=2", "trials=2", "task=inpaint,denoise_25", "nfe=2", "noise.nfe=2",
            "t0=50,200", f"dip.architecture={architecture}", "dip.iterations=6", "population=7",
            f"generation.architecture={architecture}", "generation.iterations=2", "training.images=4",
            "training.batch=2", "training.updates=2", "training.nfe=1", f"training.dip.architecture={architecture}",
            "training.dip.iterations=2", "training.population=4",
        ]
    )  # fmt: skip
    experiments = Experiments(
        chosen, open_dataset("photo-patches"), open_denoiser("unet"), memo,
        seed=0, tuning_seed=0, device=dipddpm.device.open_device("cpu"), clock=synchronised,
    )  # fmt: skip
    restoration, generation, training = experiments.restoration, experiments.generation, experiments.training
    for task in chosen.restoration.tasks:
        controls = ("noise", "blur", "biharmonic", "tv", "wavelet", "mmse", "pnp", "learned", "matched")
        for name in (*controls, "oracle", "shuffled", prior):
            fitted = (architecture, 6) if Arm.named(name).prior.uses_dip else ()
            arm = Arm.named(name, *fitted)
            if arm.prior.applies(experiments.fits.observation(task, "test")):
                restoration.cell(task, arm, 2)
    stopped = Arm.named(prior, architecture, 6, "es-wmv")
    restoration.cell_with("inpaint", stopped, Setting(2, injection("raw")))
    for arm in (Arm.named("noise"), Arm.named(prior, architecture, 2)):
        found = generation.sample(arm, generation.setting(arm, 1, 100))
        memo(
            score_population,
            {
                "images": found.images, "reference": experiments.reference, "photographs": generation.images("train"),
                "split": "train", "extractor": experiments.extractor, "metrics": population_metrics(),
                "again": found.images, "mu": generation.mu(Arm.named(prior, architecture, 2)),
            },
        )  # fmt: skip
    memo(
        score_floor,
        {
            "images": generation.images("train"), "reference": experiments.reference,
            "photographs": generation.photographs(len(experiments.reference)), "split": "train",
            "extractor": experiments.extractor, "metrics": population_metrics(),
        },
    )  # fmt: skip
    for task in chosen.training.tasks:
        for arm in training.runs.arms(task):
            training.quality(task, arm, 2)
            training.population_scores(task, arm, 2)
    memo(dip_flops, {"architecture": dipddpm.dip.architecture_class(architecture), "size": 32, "width": None})


@pytest.fixture(scope="module")
def calls():
    small_session(
        Watched()
    )  # what is imported late is imported here: code of a module that is imported is no computation
    watched = Watched()
    small_session(watched)
    return watched.calls


def key(function, arguments):
    return digest(describe_call(function, arguments))


@pytest.fixture
def edited(monkeypatch):
    """``with edited(change)``: in there the source of a module reads as ``change(name, source)``."""

    @contextlib.contextmanager
    def edit(change):
        with monkeypatch.context() as patch:
            patch.setattr(content, "_source", lambda name: change(name, SOURCE(name)))
            yield

    return edit


def with_a_statement(module):
    return lambda name, source: f"{source}\nPLANTED = 1\n" if name == module else source


def test_the_session_makes_every_kind(calls):
    assert set(calls) == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_key_knows_every_module_whose_code_ran(calls, kind):
    for function, arguments, ran in calls[kind]:
        assert ran, "nothing was seen"
        assert ran <= modules_of_call(function, arguments)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_statement_in_any_module_that_ran_changes_the_key(calls, kind, edited):
    for function, arguments, ran in calls[kind][:2]:
        before = key(function, arguments)
        for module in ran:
            with edited(with_a_statement(module)):
                assert key(function, arguments) != before, module


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_words_change_no_key(calls, kind, edited):
    """Docstrings, comments and layout of every module, all at once."""

    def reworded(name, source):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and ast.get_docstring(node) is not None:
                node.body[0] = ast.Expr(ast.Constant("Other words."))
        return "# A comment.\n" + ast.unparse(tree)  # its own layout, and none of the comments

    # One call for each set of modules that ran: a hundred tunings of the same code say no more than one.
    different = {frozenset(ran): (function, arguments) for function, arguments, ran in calls[kind]}.values()
    before = [key(function, arguments) for function, arguments in different]
    with edited(reworded):
        assert [key(function, arguments) for function, arguments in different] == before


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        # What lists by hand had left out: each of these kept stale results.
        ("score_population", "dipddpm.extractors.embedded64"),
        ("score_population", "dipddpm.extractors.inception"),
        ("judge_restorations", "dipddpm.extractors.embedded64"),
        ("judge_restorations", "dipddpm.tasks.super_resolution"),
        ("check_network", "dipddpm.tasks.super_resolution"),
    ],
)
def test_holes_of_lists_by_hand(calls, kind, module, edited):
    for function, arguments, _ in calls[kind]:
        before = key(function, arguments)
        with edited(with_a_statement(module)):
            assert key(function, arguments) != before


def test_observations_count_by_their_values(calls):
    """Whatever makes y (``prior_sets.observe``, ``Fits``): another y is another key."""
    for kind, name in (("judge_restorations", "observation"), ("check_network", "test"), ("run_arm", "observation")):
        function, arguments, _ = calls[kind][0]
        held = arguments[name]
        observation = held["observation"] if name == "test" else held
        other = replace(observation, y=observation.y + 1e-6)
        changed = held | {"observation": other} if name == "test" else other
        assert key(function, arguments) != key(function, arguments | {name: changed})


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A distribution of its own with a DIP architecture and a prior, whose arithmetic is in another module."""
    folder = tmp_path / "their_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "arithmetic.py").write_text("def scaled(x):\n    return 0.9 * x\n")
    (folder / "variants.py").write_text(
        textwrap.dedent("""
        from dipddpm.dip.deep_decoder import DeepDecoder
        from dipddpm.priors.dip import Dip
        from their_package.arithmetic import scaled

        class Theirs(DeepDecoder):
            name = "theirs"
            def layers(self, z):
                return scaled(super().layers(z))

        class Dimmed(Dip):
            name = "dimmed"
            def mu(self, evidence):
                return scaled(super().mu(evidence))
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    groups = {"dipddpm.dip": "Theirs", "dipddpm.priors": "Dimmed"}
    entries = {group: [EntryPoint(n, f"their_package.variants:{n}", group)] for group, n in groups.items()}
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.get(group, []))
    registry.discover.cache_clear()
    SOURCE.cache_clear()
    yield "their_package"
    registry.discover.cache_clear()
    SOURCE.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "their_package"]:
        del sys.modules[name]


def test_the_code_of_a_plug_in_counts_as_our_own(plugin, edited):
    assert issubclass(dipddpm.dip.architecture_class("theirs"), DeepImagePrior | DeepDecoder)
    watched = Watched(plugin)
    small_session(watched, "theirs", "dimmed")
    theirs = {"their_package.variants", "their_package.arithmetic"}
    seen = set()
    for function, arguments, ran in (call for calls in watched.calls.values() for call in calls):
        assert ran <= modules_of_call(function, arguments)
        if theirs & ran:
            seen.add(function.__name__)
            before = key(function, arguments)
            for module in theirs & ran:
                with edited(with_a_statement(module)):
                    assert key(function, arguments) != before
    # What runs on a prior image knows its bytes, and needs to know nothing of how it came to be.
    assert {"fit_observations", "sample_population", "make_prior"} <= seen


class Compared(Watched):
    """Computes every call, and looks whether a stand-in for its result has the same form."""

    def __call__(self, function, arguments, *, aside=None, run=None):
        found = super().__call__(function, arguments, aside=aside, run=run)
        made = stand_in(Call(function, arguments, {}, {"function": function.__name__, "n": len(self.calls)}))
        assert made is not None, f"{function.__name__} has no stand-in: give it one in dipddpm/sweep/stand_ins.py"
        assert_alike(made, found.value, function.__name__)
        return found


def assert_alike(made, real, where):
    """A stand-in may leave a dictionary empty; what it has is of the form of the real result."""
    if isinstance(real, torch.Tensor):
        assert isinstance(made, torch.Tensor) and (made.shape, made.dtype) == (real.shape, real.dtype), where
    elif isinstance(real, dict):
        # An optimizer that has made no step has no moments yet; a plan hands the state on and never looks into it.
        lacks = {name for name in set(real) - set(made) if name.startswith("optimizer.")}
        assert not made or set(made) == set(real) - lacks, where
        for name in made:
            assert_alike(made[name], real[name], f"{where}.{name}")
    elif isinstance(real, list | tuple):
        assert len(made) == len(real), where
        for one, other in zip(made, real, strict=True):
            assert_alike(one, other, where)
    else:
        assert isinstance(made, int | float) == isinstance(real, int | float), where


def test_stand_ins_of_a_plan_have_the_form_of_results():
    small_session(Compared())
