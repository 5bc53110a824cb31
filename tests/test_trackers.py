"""Trackers, through their own clients and offline: what is handed over is read back; none can break or slow a run."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from planted import experiment
from scipy import special

from dipddpm.cli import main
from dipddpm.errors import InputError
from dipddpm.measure.record import Run
from dipddpm.registry import discover
from dipddpm.session.tracking import Tracking, numbers, verdicts
from dipddpm.trackers import Followers, Tracker, check_given, following, open_trackers, trackers

pytest_plugins = ["pytester"]
LOADED = pd, special  # before a session in this process would load them and forget them: numpy is loaded once
ROOT = Path(__file__).parent.parent


def read_tensorboard(where):
    """{name: [(step, value)]}, and the texts, as TensorBoard's own reader has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(where), size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    texts = {
        tag.removesuffix("/text_summary"): events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        for tag in tags["tensors"]
    }
    return scalars, texts, tags["images"]


def read_mlflow(where):
    """Metrics, tags and parameters, and files, of the only run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=where)
    experiment = client.get_experiment_by_name("dipddpm")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    metrics = {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
    }
    return metrics, {**run.data.tags, **run.data.params}, [file.path for file in client.list_artifacts(run.info.run_id)]


def wandb_records(data):
    """The messages of a file of an offline run: a LevelDB log behind 7 bytes, whose blocks are of 32 KiB."""
    at, message = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # too short for a header: the rest of a block is filled up
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield message
            message = b""


def read_wandb(folder):
    """Numbers by step, summary and config, and artefacts, from the file that an offline run leaves."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.rglob("run-*.wandb")
    scalars, texts, files = {}, {}, []
    for message in wandb_records(file.read_bytes()):
        record = Record.FromString(message)
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in row.items():
            if "step" in row and name != "step" and not name.startswith("_"):
                scalars.setdefault(name, []).append((row["step"], value))
        for update in (*record.summary.update, *record.config.update, *record.run.config.update):
            texts[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
        for artifact in (record.artifact, record.request.log_artifact.artifact):
            files += [entry.path for entry in artifact.manifest.contents]
    return scalars, texts, files


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A folder without a network for clients that would look for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def written(offline):
    """Files of a report."""
    (offline / "leaderboard.md").write_text("# a table", encoding="utf-8")
    Image.new("RGB", (4, 4)).save(offline / "chart.png")
    return [offline / "leaderboard.md", offline / "chart.png"]


NUMBERS = {"quality/inpaint/dip skip:32, offered 40/psnr": 24.5, "quality/inpaint/noise/psnr": 22.0}


def hand_over(tracker, files):
    tracker.settings({"profile": "smoke", "seeds": "0"})
    tracker.numbers(NUMBERS, 5)
    tracker.numbers({"quality/inpaint/noise/psnr": 23.0}, 1)
    tracker.texts({"verdict/inpaint": "**cannot tell**"})
    tracker.files(files)
    tracker.close()


# ---- The clients --------------------------------------------------------------------------------------------------


def test_tensorboard_reads_what_was_handed_over(written, offline):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    hand_over(trackers()["tensorboard"]("events", "a run"), written)
    scalars, texts, images = read_tensorboard(offline / "events")
    assert scalars["quality/inpaint/noise/psnr"] == [(5, 22.0), (1, 23.0)]
    assert scalars["quality/inpaint/dip skip:32, offered 40/psnr"] == [(5, 24.5)]
    assert texts["verdict/inpaint"] == "**cannot tell**" and "| profile | smoke |" in texts["settings"]
    assert texts["leaderboard"] == "# a table" and images == ["chart"]


@pytest.mark.long
def test_mlflow_reads_what_was_handed_over(written, offline):
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    where = f"sqlite:///{offline}/mlflow.db"
    hand_over(trackers()["mlflow"](where, "a run"), written)
    metrics, texts, files = read_mlflow(where)
    assert sorted(metrics["quality/inpaint/noise/psnr"]) == [(1, 23.0), (5, 22.0)]
    assert metrics["quality/inpaint/dip skip-32- offered 40/psnr"] == [(5, 24.5)]
    assert texts["verdict/inpaint"] == "**cannot tell**" and texts["profile"] == "smoke"
    assert sorted(files) == ["chart.png", "leaderboard.md"]


@pytest.mark.long
def test_wandb_reads_what_was_handed_over(written, offline):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    hand_over(trackers()["wandb"]("dipddpm", "a run"), written)
    scalars, texts, files = read_wandb(offline)
    assert scalars["quality/inpaint/noise/psnr"] == [(5, 22.0), (1, 23.0)]
    assert scalars["quality/inpaint/dip skip:32, offered 40/psnr"] == [(5, 24.5)]
    assert texts["verdict/inpaint"] == "**cannot tell**" and texts["profile"] == "smoke"
    assert sorted(files) == ["chart.png", "leaderboard.md"]


# ---- What they are told -------------------------------------------------------------------------------------------


class Heard(Tracker):
    """Keeps everything, in order."""

    name, takes, meaning, needs, extra = "heard", "WHERE", "for tests", "json", "none"

    def __init__(self, where="", title=""):
        self.said = [("open", where, title)]

    def settings(self, values):
        self.said.append(("settings", dict(values)))

    def numbers(self, values, step):
        self.said.append(("numbers", dict(values), step))

    def texts(self, values):
        self.said.append(("texts", dict(values)))

    def files(self, paths):
        self.said.append(("files", list(paths)))

    def close(self):
        self.said.append(("close",))


class Late(Heard):
    name, live = "late", False


class Broken(Heard):
    name = "broken"

    def numbers(self, values, step):
        raise ConnectionError("no route\nto host")


def test_records_are_told_as_they_come_and_late_ones_at_the_end(tmp_path, capsys):
    made, heard, late, broken = experiment(+2.0, +2.0), Heard(), Late(), Broken()
    tracking = Tracking(Followers([heard, broken, late]))
    first, rest = Run(**vars(made) | {"records": made.records[:3]}), made
    tracking.tell_new(first)
    assert len(heard.said) == 4 and len(late.said) == 1
    tracking.tell_new(rest)
    tracking.tell_new(rest)
    assert len(heard.said) == 1 + len(made.records) and len(late.said) == 1
    file = tmp_path / "run.json"
    made.save(file)
    tracking.close(made, [file, tmp_path / "gone.png"])
    assert [s[0] for s in heard.said[-4:]] == ["settings", "texts", "files", "close"]
    assert heard.said[-2] == ("files", [file]) and heard.said[1 : len(made.records) + 1] == late.said[1:-4]
    assert "**The DIP start pays.**" in heard.said[-3][1]["verdict/task"]
    err = capsys.readouterr().err
    assert err == "dipddpm: --broken: not tracked any more (ConnectionError: no route to host)\n"
    assert broken.said == [("open", "", "")]


def test_numbers_are_the_means_of_records_by_budget():
    made = experiment(+2.0, +2.0)
    record = next(r for r in made.records if r.arm == "noise" and r.budget == 20)
    told = numbers(record, made)
    values = record.measures["psnr"].values
    assert told["quality/task/noise/psnr"] == pytest.approx(sum(values) / len(values))
    assert told["quality/task/noise/seconds per image"] == pytest.approx(record.cost)
    assert set(verdicts(made)) == {"verdict/task"}


# ---- Options ------------------------------------------------------------------------------------------------------


def test_no_client_is_imported_unless_it_is_asked_for():
    code = (
        "import sys; from dipddpm.trackers import open_trackers, trackers\n"
        "trackers(), open_trackers({'wandb': None}, '')\n"
        "assert not {'mlflow', 'wandb', 'tensorboard', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_client_that_is_missing_is_one_line(name, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dipddpm.trackers.find_spec", lambda module: None)
    assert main(["train", "--out", "x.safetensors", f"--{name}", "here"]) == 2
    assert capsys.readouterr().err == (f"dipddpm: --{name}: {name} is not installed: pip install 'dipddpm[{name}]'\n")
    assert not (tmp_path / "here").exists()


def test_what_cannot_be_opened_is_one_line(monkeypatch):
    def refuse(self, where, title):
        raise RuntimeError("no\nsuch server")

    monkeypatch.setattr(Heard, "__init__", refuse)
    monkeypatch.setattr("dipddpm.trackers.trackers", lambda: {"heard": Heard})
    with pytest.raises(InputError, match=r"--heard there: cannot be opened \(no such server\)"):
        open_trackers({"heard": "there"}, "")


def test_trackers_of_other_distributions_are_found(monkeypatch):
    assert discover.__module__ == "dipddpm.registry" and {"mlflow", "tensorboard", "wandb"} <= set(trackers())
    check_given({"tensorboard": None, "seed": 3})
    with following({}, "") as none:
        none.tell(lambda tracker: 1 / 0)
    assert len({kind.extra for kind in trackers().values()}) == len(trackers())


# ---- Sessions and trainings ---------------------------------------------------------------------------------------

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import planted_gate
from dipddpm.session.stash import RUN

pytest_plugins = ["dipddpm.session.plugin"]

def pytest_sessionstart(session):
    session.config.stash[RUN] = planted_gate.run([])
"""
SUITE = """
import planted_gate, pytest

@pytest.mark.parametrize("budget", [1, 5])
def bench_cell(budget, record):
    record(planted_gate.cell("noise", budget))
"""


def test_a_session_is_followed_and_no_tracker_breaks_it(pytester, monkeypatch):
    opened = []

    class Kept(Heard):
        def __init__(self, *words):
            super().__init__(*words)
            opened.append(self)

    for place in ("dipddpm.trackers", "dipddpm.session.tracking"):
        monkeypatch.setattr(f"{place}.trackers", lambda: {"heard": Kept, "broken": Broken})
    pytester.makeconftest(CONFTEST.format(tests=str(ROOT / "tests")))
    pytester.makepyfile(bench_one=SUITE)
    pytester.makeini("[pytest]\npython_files = bench_*.py\npython_functions = bench_*")
    words = ["bench_one.py", "-p", "no:cacheprovider", "--results", "out", "--heard", "there", "--broken", "here"]
    done = pytester.runpytest_inprocess(*words)
    assert done.ret == 0
    done.stderr.fnmatch_lines(["*--broken: not tracked any more (ConnectionError: no route to host)"])
    (heard,) = opened
    assert [what for what, *_ in heard.said] == ["open", "numbers", "numbers", "settings", "texts", "files", "close"]
    assert heard.said[0][1] == "there" and heard.said[0][2].startswith("planted 2")
    assert {"leaderboard.csv", "index.html"} < {path.name for path in heard.said[5][1]}


@pytest.mark.long
def test_a_training_is_followed(offline):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    small = "--steps 3 --batch 2 --channels 8,8 --held-out 8 --out t.safetensors --tensorboard events"
    assert main(["train", *small.split()]) == 0
    scalars, texts, _ = read_tensorboard(offline / "events")
    assert [step for step, _ in scalars["loss"]] == [3]
    record = json.loads(Path("t.json").read_text())
    assert scalars["loss"][0][1] == pytest.approx(record["loss_curve"][-1][1], rel=1e-5)
    for t, loss in record["held_out_loss"].items():
        assert scalars[f"held-out loss/t={t}"] == [(3, pytest.approx(loss, rel=1e-5))]
    assert "| steps | 3 |" in texts["settings"]


def test_the_seconds_of_a_tracker_are_not_those_of_a_training(tmp_path):
    import torch

    from dipddpm.schedule import Schedule
    from dipddpm.train import train
    from dipddpm.training import TrainingSettings, initial_network

    ticks, told = itertools.count(), []
    config = {"size": 8, "channels": [8], "blocks": 1}
    images = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def slow(at, loss):
        told.append(at)
        for _ in range(1000):
            next(ticks)

    def clock():
        return float(next(ticks))

    made = {}
    for name, follow in (("plain", None), ("followed", slow)):
        made[name] = train(
            images, images[:2], tmp_path / f"{name}.safetensors", model=initial_network(config, 0),
            schedule=Schedule.linear(), settings=TrainingSettings(2, batch=2), clock=clock,
            follow=follow,
        )  # fmt: skip
    assert told == [2] and made["followed"]["seconds"] <= made["plain"]["seconds"] + 5
    assert made["followed"]["loss_curve"] == made["plain"]["loss_curve"]
