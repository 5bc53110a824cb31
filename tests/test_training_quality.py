"""The training comparison: one beginning for all, checkpoints that a longer run goes on from, every second charged."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from dipddpm.data import open_dataset
from dipddpm.errors import InputError
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.experiments.training_arms import PLAIN
from dipddpm.experiments.training_quality import TrainingQuality
from dipddpm.experiments.training_runs import TrainingRuns
from dipddpm.measure.measured_paces import ROUNDS
from dipddpm.measure.store import Store
from dipddpm.metrics.psnr import Psnr
from dipddpm.population.kid import Kid
from dipddpm.restore import Setting
from dipddpm.rng import image_keys
from dipddpm.schedule import Schedule
from dipddpm.training import Training
from dipddpm.training_loss import HELD_OUT_T

ROOT, TASK = Path(__file__).parent.parent, "super_resolution"


class Denoiser:
    """The experiment's own is not asked anything here."""

    size, schedule, fingerprint = 16, Schedule.linear(), ""


def training_quality(folder, *axes, clock=None):
    small = profile("smoke").override(
        [
            "images=3", "validation_images=2", "trials=1", "training.images=5", "training.batch=4",
            "training.updates=2,4", "training.channels=8", "training.dip.iterations=3", "training.nfe=2",
            "training.population=6", *axes,
        ]
    )  # fmt: skip
    clock = {"clock": clock} if clock else {}
    dataset, memo = open_dataset("photo-patches", size=16), Store(folder).measured
    restoration = Restoration(Fits(small.restoration, dataset, memo, **clock), Denoiser())
    return TrainingQuality(TrainingRuns(restoration, small.training), small.generation.reference)


def arms_of(made):
    return {arm.name: arm for arm in made.runs.arms(TASK)}


@pytest.fixture
def counted(monkeypatch):
    """The updates that happened."""
    happened, update = [], Training.update
    monkeypatch.setattr(Training, "update", lambda self, *a: happened.append(self.done) or update(self, *a))
    return happened


def test_the_arms_are_those_of_the_protocol(tmp_path):
    made = training_quality(tmp_path)
    assert [arm.name for arm in made.runs.arms(TASK)] == [
        "none", "concat-dip", "residual-dip", "weights-dip",
        "concat-bicubic", "residual-bicubic", "residual-mean_colour", "weights-other",
    ]  # fmt: skip
    parts = {arm.name: arm.part for arm in made.runs.arms(TASK)}
    assert list(parts.values()) == ["plain"] + ["treatment"] * 3 + ["control"] * 4, parts
    assert "concat-blur" in [arm.name for arm in made.runs.arms("inpaint")]  # there is nothing to enlarge


def test_beside_the_arms_stands_every_prior_that_a_network_is_given(tmp_path):
    runs = training_quality(tmp_path).runs
    beside = runs.rows(TASK)[len(runs.arms(TASK)) :]
    assert [arm.name for arm in beside] == [
        "none-start-dip", "none-start-bicubic", "none-start-mean_colour", "dip-alone", "bicubic-alone",
        "mean_colour-alone",
    ]  # fmt: skip
    assert [arm.part for arm in beside] == ["treatment", "control", "control", "prior", "prior", "prior"]
    assert runs.rows(TASK)[0] == PLAIN and len({arm.name for arm in runs.rows(TASK)}) == 14


def test_a_prior_alone_is_what_the_networks_are_given_and_costs_no_update(tmp_path, counted):
    made = training_quality(tmp_path)
    rows = {arm.name: arm for arm in made.runs.rows(TASK)}
    early, late = (made.quality(TASK, rows["dip-alone"], updates) for updates in (0, 4))
    assert early == late and sum(early.seconds.values()) == 0 and early.images_per_second is None and not early.x_0
    assert not counted, "nothing was trained for it"
    observation, test = made.runs.fits.observation(TASK, "test"), made.runs.fits.images("test").x_0
    mu = made.runs.mu(TASK, rows["residual-dip"], "test")
    expected = Psnr()(observation.consistent(mu).clamp(-1, 1), test)
    assert early.scores["psnr"] == pytest.approx(expected.tolist()) and early.test_seconds["dip"] > 0
    assert early.setting.nfe == 0


def test_the_plain_network_is_entered_from_a_prior_with_a_start_of_its_own_tuning(tmp_path, counted):
    made = training_quality(tmp_path, "trials=3", "t0=50,200,999")
    rows = {arm.name: arm for arm in made.runs.rows(TASK)}
    start, none = (made.quality(TASK, rows[name], 4) for name in ("none-start-dip", "none"))
    assert start.setting.injection.name == "start" and start.setting.t0 in (50, 200, 999) and start.setting.nfe == 2
    assert start.seconds == none.seconds and not start.x_0 and start.scores != none.scores
    assert start.validation > none.validation, "a network of four updates knows nothing that a prior does not"
    assert made.runs.denoiser(TASK, rows["none-start-dip"], 4) is made.runs.denoiser(TASK, PLAIN, 4)
    with pytest.raises(InputError, match="none-start-dip: no network is trained so"):
        made.runs.trained(TASK, rows["none-start-dip"], 4)
    assert [s.t0 for s in made._settings(TASK, rows["none-start-dip"])] == [50, 200, 999], "each step in turn"


def test_all_arms_begin_with_the_same_weights_but_those_that_fit_them(tmp_path):
    runs = training_quality(tmp_path).runs
    begun = {arm.name: runs.trained(TASK, arm, 0).tensors for arm in runs.arms(TASK)}
    plain = begun.pop("none")
    for name, state in begun.items():
        same = all(
            torch.equal(value, state[key][:, :3] if key.endswith("stem.weight") else state[key])
            for key, value in plain.items()
        )
        assert same != name.startswith("weights"), name
    assert not torch.equal(begun["weights-dip"]["model.stem.weight"], begun["weights-other"]["model.stem.weight"])


def test_a_longer_run_goes_on_and_nothing_is_trained_twice(tmp_path, counted):
    residual = arms_of(training_quality(tmp_path))["residual-dip"]
    training_quality(tmp_path).runs.trained(TASK, residual, 4)
    assert counted == [0, 1, 2, 3]
    longer = training_quality(tmp_path, "training.updates=2,4,6").runs.trained(TASK, residual, 6)
    assert counted == [0, 1, 2, 3, 4, 5]
    without_a_stop = training_quality(tmp_path / "other", "training.updates=6")
    whole = without_a_stop.runs.trained(TASK, residual, 6)
    assert longer.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(value, whole.tensors[name]) for name, value in longer.tensors.items())
    made, counted[:] = training_quality(tmp_path, "training.updates=2,4,6"), []
    made.quality(TASK, residual, 6)
    assert set(counted) <= set(range(1 + ROUNDS)) and len(counted) == 8 * (1 + ROUNDS), "those of the times alone"
    made.quality(TASK, residual, 4)
    assert len(counted) == 8 * (1 + ROUNDS), "measured once for all checkpoints"


def test_quality_is_measured_and_priors_are_charged(tmp_path):
    made = training_quality(tmp_path)
    arms = arms_of(made)
    trained = {name: made.quality(TASK, arms[name], 4) for name in ("none", "residual-dip", "weights-dip")}
    for state in trained.values():
        assert len(state.scores["psnr"]) == 3 and set(state.x_0) == set(HELD_OUT_T)
        assert all(len(values) == 3 for values in state.x_0.values())
        assert isinstance(state.setting, Setting) and state.setting.nfe == 2
        assert state.seconds["training"] > 0 and state.images_per_second > 0
    for name, seconds in made.times.seconds(TASK).items():
        if name in trained:
            assert trained[name].seconds["training"] == 4 * seconds and trained[name].images_per_second == 4 / seconds
    assert trained["none"].seconds["prior"] == 0 and trained["none"].test_seconds["dip"] == 0
    priors = made.runs.prior_set(TASK, arms["residual-dip"], "train")
    assert trained["residual-dip"].seconds["prior"] == priors.seconds > 0
    assert trained["weights-dip"].seconds["prior"] > 0 and trained["residual-dip"].test_seconds["dip"] > 0
    assert trained["none"].scores != trained["residual-dip"].scores
    again = training_quality(tmp_path).quality(TASK, arms["residual-dip"], 4)
    assert again == trained["residual-dip"], "what was measured is found again, seconds and all"


class Clock:
    """Stands still but for the work that moves it on."""

    now = 0.0

    def __call__(self):
        return self.now


def test_the_time_of_an_update_is_of_one_interleaved_run(tmp_path, monkeypatch):
    clock, order, update = Clock(), [], Training.update

    def timed(self, images, mu=None):
        order.append((self.injection.name, self.done))
        clock.now += 2.0 if self.injection.name == "concat" else 1.0
        return update(self, images, mu)

    monkeypatch.setattr(Training, "update", timed)
    made = training_quality(tmp_path, clock=clock)
    seconds, arms = made.times.seconds(TASK), arms_of(made)
    assert seconds == {name: 2.0 if arm.injection.name == "concat" else 1.0 for name, arm in arms.items()}
    injections = [arm.injection.name for arm in arms.values()]
    assert [name for name, _ in order] == injections * (1 + ROUNDS), "in turns"
    assert [done for _, done in order] == [i for i in range(1 + ROUNDS) for _ in arms]
    clock.now += 100
    slow = made.quality(TASK, arms["residual-dip"], 4)
    assert slow.seconds["training"] == 4.0, "what else takes time while an arm is trained is not charged to it"
    assert seconds == training_quality(tmp_path, clock=Clock()).times.seconds(TASK), "found again"


@pytest.mark.long
def test_restorations_are_judged_as_a_population(tmp_path):
    made, title = training_quality(tmp_path), "KID-embedded64@6-train"
    arms = arms_of(made)
    judged = {name: made.population_scores(TASK, arms[name], 4) for name in ("none", "residual-dip", "weights-dip")}
    for found in judged.values():
        assert set(found) == {title}, "equal titles; no FD of fewer images than features"
        value, (low, high), higher = found[title]
        assert low < value < high and not higher
    assert len({found[title][0] for found in judged.values()}) == 3
    again = training_quality(tmp_path / "other").population_scores(TASK, PLAIN, 4)
    assert again[title][0] == pytest.approx(judged["none"][title][0]), "identical restorations"


def test_the_population_is_of_photographs_that_decide_nothing_else(tmp_path):
    made = training_quality(tmp_path)
    runs, dataset = made.runs, made.runs.fits.dataset
    reference, population = made.reference(), runs.images("population")
    used = {key for part in ("train", "validation", "test") for key in image_keys(runs.images(part))}
    assert len(population) == 6 and used.isdisjoint(image_keys(population))
    cut_from = dict(zip(image_keys(dataset.load("train")), dataset.photographs("train"), strict=True))
    trained, held = ({cut_from[key] for key in image_keys(images)} for images in (runs.images("train"), reference))
    assert len(reference) >= 6 and not trained & held, "of other photographs than the networks are trained on"
    split, positions = runs.positions("population")
    assert len({dataset.photographs(split)[i] for i in positions}) == 6, "photographs take turns"
    assert made.not_judged == ""


def test_without_other_photographs_nothing_is_judged_as_a_population(tmp_path):
    whole = training_quality(tmp_path, "training.population=100000", "training.images=100000")
    assert len(whole.runs.images("population")) == len(whole.runs.fits.dataset.load("test"))
    assert whole.population_scores(TASK, PLAIN, 2) == {} == whole.population_floor()
    assert (
        "restorations need a reference as large of photographs that no network here was trained on" in whole.not_judged
    )


def test_the_floor_of_restorations_is_of_the_photographs_themselves(tmp_path):
    made = training_quality(tmp_path)
    ((title, (value, (low, high), higher)),) = made.population_floor().items()
    assert title == "KID-embedded64@6-train" and low <= value <= high and not higher
    features = [made.extractor.features(images) for images in (made.runs.images("population"), made.reference())]
    assert low - 1e-9 <= Kid()(*features) <= high + 1e-9, "one of the draws is the photographs that are restored"


def test_starts_with_the_network_of_a_checkpoint(tmp_path):
    made = training_quality(tmp_path, "dip.iterations=2", "dip.architecture=deep_decoder")
    arms = {start: made.started(TASK, start, 2) for start in ("noise", "dip", "control")}
    assert arms["noise"][0].label == "noise" and arms["dip"][0].label == "dip deep_decoder 2"
    assert arms["control"][0].role == "control" and arms["control"][0].prior.name != "noise"
    assert all(cell.nfe == 2 and len(cell.scores["psnr"]) == 3 for _, cell in arms.values())
    denoisers = [made.runs.denoiser(TASK, PLAIN, updates) for updates in (2, 4)]
    assert denoisers[0].fingerprint != denoisers[1].fingerprint


@pytest.mark.long
def test_the_suite_reports_curves_as_tables_figure_and_csv(tmp_path):
    axes = ["images=2", "validation_images=2", "trials=1", "training.updates=2", "training.images=4"]
    chosen = "bench_training and (super_resolution-none-after or mean_colour)"
    command = [sys.executable, "-m", "pytest", "bench/bench_training.py", "-q", "-p", "no:cacheprovider"]
    command += ["--profile", "smoke", "--results", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    command += [word for axis in axes for word in ("--axis", axis)] + ["-k", chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    table = pd.read_csv(tmp_path / "out" / "training.csv")
    arms = ["none", "residual-mean_colour", "none-start-mean_colour", "mean_colour-alone"]
    assert list(table["arm"]) == [arm for arm in arms for _ in "ab"] and list(table["updates"]) == [0, 2] * 4
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "KID-embedded64@16-train at the end" in text and (table["KID-embedded64@16-train"] > 0).all()
    assert "## training, super_resolution" in text and "No arms were run" not in text
    assert "training-curves.png" in text and list((tmp_path / "out/figures").glob("*training-curves.svg"))
    assert "(floor " in text and "**No learned arm passes its own prior**" in text and "entered from a prior" in text
    assert "Updates and seconds to a level" not in text  # without a treatment there is no question
    assert "training, super_resolution" in done.stdout
