"""A cell that hangs fails alone and says so, and what is of other distributions runs last."""

import time
from pathlib import Path

import pandas as pd
import pytest
import test_exit_codes
from scipy import special

from dipddpm.experiments.arms import Arm
from dipddpm.measure.record import Run
from dipddpm.registry import register
from dipddpm.session import limits

session = test_exit_codes.session
pytest_plugins = ["pytester"]
LOADED = pd, special  # before a session in this process would load them and forget them: numpy is loaded once


@pytest.mark.parametrize("hangs", ["time.sleep(600)", "while True: pass"], ids=["sleeps", "computes"])
def test_a_cell_that_hangs_fails_alone(session, hangs):
    started = time.monotonic()
    ended = session(f"import time; {hangs}" if "sleep" in hangs else hangs, "--cell-timeout", "0.5")
    assert ended.ret == 6 and time.monotonic() - started < 590
    (file,) = Path("out").glob("run-*.json")
    run = Run.load(file)
    assert [record.budget for record in run.records] == [1, 7], "the cells before and after it are there"
    ((cell, why),) = run.failures.items()
    assert cell.endswith("::bench_other") and why.startswith("Timeout (>0.5s)")
    assert "Timeout (>0.5s)" in Path("out/leaderboard.md").read_text()


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "inf"])
def test_a_limit_that_is_none(session, text):
    assert session(test_exit_codes.GOOD, f"--cell-timeout={text}").ret == 4


def test_no_limit(session):
    assert session(test_exit_codes.GOOD, "--cell-timeout=0").ret == 0


@pytest.fixture
def theirs(monkeypatch):
    """A prior and a network of another distribution."""
    from dipddpm import registry
    from dipddpm.dip.skip import SkipNet
    from dipddpm.priors.mean_colour import MeanColour

    monkeypatch.setattr(registry, "_REGISTERED", {})
    register(type("Theirs", (MeanColour,), {"name": "theirs", "__module__": "their_package"}))
    register(type("TheirNet", (SkipNet,), {"name": "their_net", "__module__": "their_package"}))
    yield
    monkeypatch.undo()
    registry.discover.cache_clear()


def test_variants_of_others_are_found_in_every_point(theirs):
    assert limits.foreign() == {"theirs", "their_net"}
    for point, is_theirs in (
        ({"cell": ("inpaint", Arm.named("theirs"), 5)}, True),
        ({"cell": ("inpaint", Arm.named("dip", "their_net:32", 20), 5)}, True),
        ({"network": "their_net"}, True),
        ({"cell": ("inpaint", Arm.named("dip", "skip", 20), 5), "x": {"a": [None, 7]}}, False),
        ({}, False),
    ):
        assert bool(limits.foreign() & set(limits._names(point))) == is_theirs, point


def test_what_is_of_others_runs_last(session, pytester, monkeypatch):
    monkeypatch.setattr(limits, "foreign", lambda: frozenset({"theirs"}))
    suite = pytester.path / "bench" / "bench_a.py"
    suite.write_text(
        "import planted_gate, pytest\n"
        "@pytest.mark.parametrize('network', ['skip', 'theirs', 'unet'])\n"
        "def bench_fit(network, record): record(planted_gate.cell(arm=network, origin=''))\n"
    )
    assert session(test_exit_codes.GOOD).ret == 0
    (file,) = Path("out").glob("run-*.json")
    order = [record.arm for record in Run.load(file).records]
    assert order == ["skip", "unet", "noise", "noise", "noise", "theirs"]
