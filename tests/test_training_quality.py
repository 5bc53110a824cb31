"""The training comparison: one beginning for all, checkpoints that a longer run goes on from, every second charged."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from dipddpm.experiments.judging import Judging
from dipddpm.experiments.turns import ROUNDS, in_turns

from dipddpm.data import open_dataset
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Experiment
from dipddpm.experiments.training_quality import Learning
from dipddpm.experiments.training_runs import NONE
from dipddpm.injection import injection
from dipddpm.measure.store import Store
from dipddpm.restore import Setting
from dipddpm.rng import image_keys
from dipddpm.schedule import Schedule
from dipddpm.training import HELD_OUT_T, Training

ROOT, TASK = Path(__file__).parent.parent, "super_resolution"


class Denoiser:
    """The experiment's own is not asked anything here."""

    size, schedule, fingerprint = 16, Schedule.linear(), ""


def learning(folder, *axes, clock=None):
    small = profile("smoke").override(
        [
            "images=3", "validation_images=2", "trials=1", "training.images=5", "training.batch=4",
            "training.updates=2,4", "training.channels=8", "training.dip.iterations=3", "training.nfe=2",
            "training.population=6", *axes,
        ]
    )  # fmt: skip
    clock = {"clock": clock} if clock else {}
    experiment = Experiment(small, open_dataset("photo-patches", size=16), Denoiser(), Store(folder).measured, **clock)
    return Learning(experiment)


@pytest.fixture
def counted(monkeypatch):
    """The updates that happened."""
    happened, update = [], Training.update
    monkeypatch.setattr(Training, "update", lambda self, *a: happened.append(self.done) or update(self, *a))
    return happened


def test_the_arms_are_those_of_the_protocol(tmp_path):
    assert [arm.name for arm in learning(tmp_path).learners(TASK)] == [
        "none", "residual-dip", "concat-dip", "weights-dip",
        "residual-mean_colour", "residual-bicubic", "concat-bicubic", "weights-other",
    ]  # fmt: skip
    assert "concat-blur" in [arm.name for arm in learning(tmp_path).learners("inpaint")]  # there is nothing to enlarge


def test_all_arms_begin_with_the_same_weights_but_those_that_fit_them(tmp_path):
    made = learning(tmp_path)
    begun = {arm.name: made.trained(TASK, arm, 0).tensors for arm in made.learners(TASK)}
    plain = begun.pop("none")
    for name, state in begun.items():
        same = all(
            torch.equal(value, state[key][:, :3] if key.endswith("stem.weight") else state[key])
            for key, value in plain.items()
        )
        assert same != name.startswith("weights"), name
    assert not torch.equal(begun["weights-dip"]["model.stem.weight"], begun["weights-other"]["model.stem.weight"])


def test_a_longer_run_goes_on_and_nothing_is_trained_twice(tmp_path, counted):
    residual = learning(tmp_path).learners(TASK)[1]
    learning(tmp_path).trained(TASK, residual, 4)
    assert counted == [0, 1, 2, 3]
    longer = learning(tmp_path, "training.updates=2,4,6").trained(TASK, residual, 6)
    assert counted == [0, 1, 2, 3, 4, 5]
    whole = learning(tmp_path / "other", "training.updates=6").trained(TASK, residual, 6)  # without a stop
    assert longer.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(value, whole.tensors[name]) for name, value in longer.tensors.items())
    made, counted[:] = learning(tmp_path, "training.updates=2,4,6"), []
    made.learnt(TASK, residual, 6)
    assert set(counted) <= set(range(1 + ROUNDS)) and len(counted) == 8 * (1 + ROUNDS), "those of the pace alone"
    made.learnt(TASK, residual, 4)
    assert len(counted) == 8 * (1 + ROUNDS), "measured once for all checkpoints"


def test_quality_is_measured_and_priors_are_charged(tmp_path):
    made = learning(tmp_path)
    arms = {arm.name: arm for arm in made.learners(TASK)}
    learnt = {name: made.learnt(TASK, arms[name], 4) for name in ("none", "residual-dip", "weights-dip")}
    for state in learnt.values():
        assert len(state.scores["psnr"]) == 3 and set(state.x_0) == set(HELD_OUT_T)
        assert all(len(values) == 3 for values in state.x_0.values())
        assert isinstance(state.setting, Setting) and state.setting.nfe == 2
        assert state.seconds["training"] > 0 and state.images_per_second > 0
    for name, seconds in made.pace(TASK).items():
        if name in learnt:
            assert learnt[name].seconds["training"] == 4 * seconds and learnt[name].images_per_second == 4 / seconds
    assert learnt["none"].seconds["prior"] == 0 and learnt["none"].test_seconds["dip"] == 0
    assert learnt["residual-dip"].seconds["prior"] == made.prior_set(TASK, arms["residual-dip"], "train").seconds > 0
    assert learnt["weights-dip"].seconds["prior"] > 0 and learnt["residual-dip"].test_seconds["dip"] > 0
    assert learnt["none"].scores != learnt["residual-dip"].scores
    again = learning(tmp_path).learnt(TASK, arms["residual-dip"], 4)
    assert again == learnt["residual-dip"], "what was measured is found again, seconds and all"


class Clock:
    """Stands still but for the work that moves it on."""

    now = 0.0

    def __call__(self):
        return self.now


def test_the_pace_is_of_one_interleaved_run(tmp_path, monkeypatch):
    clock, order, update = Clock(), [], Training.update

    def timed(self, images, mu=None):
        order.append((self.way.name, self.done))
        clock.now += 2.0 if self.way.name == "concat" else 1.0
        return update(self, images, mu)

    monkeypatch.setattr(Training, "update", timed)
    made = learning(tmp_path, clock=clock)
    pace, arms = made.pace(TASK), made.learners(TASK)
    assert pace == {arm.name: 2.0 if arm.injection.name == "concat" else 1.0 for arm in arms}
    ways = [injection(arm.injection.name).name for arm in arms]
    assert [way for way, _ in order] == ways * (1 + ROUNDS), "in turns"
    assert [done for _, done in order] == [i for i in range(1 + ROUNDS) for _ in arms]
    clock.now += 100
    slow = made.learnt(TASK, arms[1], 4)
    assert slow.seconds["training"] == 4.0, "what else takes time while an arm is trained is not charged to it"
    assert pace == learning(tmp_path, clock=Clock()).pace(TASK), "found again"


def test_a_turn_that_was_disturbed_does_not_count_and_neither_does_the_first():
    clock, durations = Clock(), {"a": [90, 1, 1, 50, 1, 1], "b": [2, 2, 2, 2, 70, 2]}

    def work(name):
        clock.now += durations[name].pop(0)

    assert in_turns({name: lambda name=name: work(name) for name in "ab"}, clock) == {"a": 1, "b": 2}


def test_restorations_are_judged_as_a_population(tmp_path):
    made = learning(tmp_path)
    arms = {arm.name: arm for arm in made.learners(TASK)}
    judging, title = Judging(made), "KID-embedded64@6-train"
    judged = {name: judging.judged(TASK, arms[name], 4) for name in ("none", "residual-dip", "weights-dip")}
    for found in judged.values():
        assert set(found) == {title}, "equal titles; no FD of fewer images than features"
        value, (low, high), higher = found[title]
        assert low < value < high and not higher
    assert len({found[title][0] for found in judged.values()}) == 3
    again = Judging(learning(tmp_path / "other")).judged(TASK, NONE, 4)
    assert again[title][0] == pytest.approx(judged["none"][title][0]), "identical restorations"


def test_the_population_is_of_photographs_that_decide_nothing_else(tmp_path):
    made = learning(tmp_path)
    (reference, split), population = Judging(made).reference(), made.images("population")
    used = {key for part in ("train", "validation", "test") for key in image_keys(made.images(part))}
    assert len(population) == 6 and used.isdisjoint(image_keys(population))
    assert split == "train" and used.isdisjoint(image_keys(reference))
    whole = learning(tmp_path, "training.population=100000", "training.images=100000")
    reference, split = Judging(whole).reference()
    assert split == "trained-on" and len(reference) == len(whole.images("train"))
    assert len(whole.images("population")) == len(whole.experiment.dataset.load("test"))


def test_starts_with_the_network_of_a_checkpoint(tmp_path):
    made = learning(tmp_path, "dip.iterations=2", "dip.architecture=deep_decoder")
    arms = {start: made.started(TASK, start, 2) for start in ("noise", "dip", "control")}
    assert arms["noise"][0].label == "noise" and arms["dip"][0].label == "dip deep_decoder 2"
    assert arms["control"][0].role == "control" and arms["control"][0].prior != "noise"
    assert all(cell.nfe == 2 and len(cell.scores["psnr"]) == 3 for _, cell in arms.values())
    assert made.denoiser(TASK, NONE, 2).fingerprint != made.denoiser(TASK, NONE, 4).fingerprint


def test_the_suite_reports_curves_as_tables_figure_and_csv(tmp_path):
    axes = ["images=2", "validation_images=2", "trials=1", "training.updates=2", "training.images=4"]
    command = [sys.executable, "-m", "pytest", "bench/bench_training.py", "-q", "-p", "no:cacheprovider"]
    command += ["--profile", "smoke", "--results", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    command += [word for axis in axes for word in ("--axis", axis)] + ["-k", "bench_training and (none or mean_colour)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    table = pd.read_csv(tmp_path / "out" / "training.csv")
    assert list(table["arm"]) == ["none"] * 2 + ["residual-mean_colour"] * 2 and list(table["updates"]) == [0, 2] * 2
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "KID-embedded64@16-train at the end" in text and (table["KID-embedded64@16-train"] > 0).all()
    assert "## training, super_resolution" in text and "No arms were run" not in text
    assert "training-curves.png" in text and list((tmp_path / "out/figures").glob("*training-curves.svg"))
    assert "Updates and seconds to a level" not in text  # without a treatment there is no question
    assert "training, super_resolution" in done.stdout
