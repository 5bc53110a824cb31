"""The gate as a session: each exit code, reruns that confirm, and real runs that were made worse on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy import special

from dipddpm.cli import main
from dipddpm.measure.record import Run

pytest_plugins = ["pytester"]
LOADED = pd, special  # before a session in this process would load them and forget them: numpy is loaded once
ROOT = Path(__file__).parent.parent

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import pytest, planted_gate
from dipddpm.session.stash import RUN

pytest_plugins = ["dipddpm.session.plugin"]

def pytest_addoption(parser):
    parser.addoption("--setting", default="planted")

def pytest_sessionstart(session):
    made = planted_gate.run([])
    made.settings["profile"] = session.config.getoption("setting")
    session.config.stash[RUN] = made
"""
SUITE = """
import planted_gate, pytest

@pytest.mark.parametrize("budget", [1, 5])
def bench_cell(budget, record):
    record(planted_gate.cell(budget=budget, psnr={psnr}, origin=""))

def bench_stage(record):
    record(planted_gate.stage(time={time}), again=lambda: {again})
"""
GOOD = {"psnr": "24.0", "time": "planted_gate.ratios()", "again": "planted_gate.ratios(seed=2)"}


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs the planted suite, changed as asked, in a session of its own; its modules are new each time."""
    monkeypatch.setattr("dipddpm.session.figures._draw", lambda run, folder: [])  # figures are not what is gated
    pytester.makeconftest(CONFTEST.format(tests=str(ROOT / "tests")))
    pytester.makeini("[pytest]\npython_files = bench_*.py\npython_functions = bench_*\n")
    (pytester.path / "bench").mkdir()
    suite = pytester.path / "bench" / f"bench_{pytester.path.name}.py"

    def bare(*options, no_reraise_ctrlc=False, **changes):
        suite.write_text(SUITE.format(**GOOD | changes))
        arguments = ["bench", "-p", "no:cacheprovider", *options]
        return pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=no_reraise_ctrlc)

    def run(*options, **changes):
        return bare("--results", "out", *options, **changes)

    def promoted():
        assert run().ret == 0
        (file,) = Path("out").glob("run-*.json")
        made = Run.load(file)
        assert not made.selected and made.origins and len(made.records) == 3
        assert main(["baseline", "promote", str(file), "--reason", "first", "--out", "b.json"]) == 0

    run.promoted, run.bare = promoted, bare
    return run


def test_it_holds_in_one_line(session):
    session.promoted()
    result = session("--baseline", "b.json")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*baseline gate*", "holds against b.json (cpu, same machine): 7 hold*"])
    assert "holds against" in Path("out/gate.md").read_text()


def test_a_regression_is_1_and_in_the_summary(session):
    session.promoted()
    result = session("--baseline", "b.json", psnr="23.5")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["regression*noise / 1 / 0*psnr*-0.5*", "REGRESSION against b.json*"])
    assert "| regression" in Path("out/gate.md").read_text()


def test_no_baseline_is_3_before_anything_runs(session):
    result = session("--baseline", "b.json")
    assert result.ret == 3 and not list(Path("out").glob("run-*.json"))
    assert "no such baseline" in result.stderr.str() and "no such baseline" in Path("out/gate.md").read_text()


def test_no_baseline_for_this_device_is_3(session):
    session.promoted()
    text = json.loads(Path("b.json").read_text())
    text["cuda"] = text.pop("cpu")
    Path("b.json").write_text(json.dumps(text))
    result = session("--baseline", "b.json")
    assert result.ret == 3 and "no baseline for cpu, only for cuda" in result.stdout.str()


def test_other_settings_are_4(session):
    session.promoted()
    result = session("--baseline", "b.json", "--setting", "planted images=2")
    assert result.ret == 4 and "profile: planted images=2, baseline planted" in result.stdout.str()


def test_nothing_measured_is_5(session):
    session.promoted()
    assert session("--baseline", "b.json", "-k", "no_such").ret == 5


def test_a_selection_is_held_to_what_it_selects(session):
    session.promoted()
    result = session("--baseline", "b.json", "-k", "cell", psnr="24.0")
    assert result.ret == 0 and "1 not selected" in result.stdout.str()
    assert session("--baseline", "b.json", "-k", "cell", psnr="23.5").ret == 1


def test_a_failed_test_is_6_and_named(session):
    session.promoted()
    result = session("--baseline", "b.json", psnr="1 / 0")
    assert result.ret == 6 and "2 tests failed" in result.stdout.str()
    result.stdout.fnmatch_lines(["failed*session*bench_cell*: ZeroDivisionError: division by zero*", "FAILED against*"])
    assert session(psnr="1 / 0").ret == 6, "without a baseline too"


def test_a_baseline_that_cannot_be_read_is_one_line(session):
    Path("b.json").write_text("{}")
    result = session("--baseline", "b.json", no_reraise_ctrlc=True)  # pytest's own 2 is an interrupt
    assert result.ret == 2 and [
        line for line in result.stderr.lines if line.startswith("ERROR: b.json: not a baseline")
    ]


def test_a_slowdown_is_confirmed_by_a_rerun_and_kept(session):
    session.promoted()
    slow = "planted_gate.ratios(8.0, seed=1)"
    result = session("--baseline", "b.json", time=slow, again="planted_gate.ratios(8.0, seed=2)")
    assert result.ret == 1 and "1.6" in result.stdout.str() and "confirmed by a rerun" in result.stdout.str()
    file = max(Path("out").glob("run-*.json"))
    (time,) = (r.measures["time"] for r in Run.load(file).records if "time" in r.measures)
    assert len(time.reruns) == 1
    assert main(["compare", str(file), "b.json"]) == 1
    assert session("--baseline", "b.json", time=slow).ret == 0  # the rerun was as fast as ever


def test_a_suite_that_lacks_what_it_needs_is_not_gone(session):
    Path("bench/bench_optional.py").write_text("def bench_x(record): pass")
    session.promoted()
    Path("bench/bench_optional.py").write_text("import pytest; pytest.importorskip('no_such_module')")
    assert session("--baseline", "b.json").ret == 0
    Path("bench/bench_optional.py").unlink()
    result = session("--baseline", "b.json")
    assert result.ret == 1 and "suite bench_optional" in result.stdout.str()


def test_the_code_that_is_measured_is_no_part_of_a_suite(session):
    Path("bench/bench_import.py").write_text(
        "from dipddpm.measure.content import own_digest\n"
        "from dipddpm.session.stash import RUN\n"
        "def bench_x(record, request): assert request.config.stash[RUN].origins[__name__] == own_digest(__name__)\n"
    )
    assert session().ret == 0


def test_an_interrupted_session_leaves_the_report_and_is_no_baseline(session, pytester):
    session.promoted()
    Path("out/leaderboard.md").write_text("of before")
    Path("bench/bench_zz.py").write_text("def bench_stop(record): raise KeyboardInterrupt")
    before = set(Path("out").glob("run-*.json"))
    Path("out").joinpath(*[p.name for p in before]).rename("first.json")
    result = session("--baseline", "b.json", no_reraise_ctrlc=True)
    (file,) = Path("out").glob("run-*.json")
    assert result.ret == 130 and Run.load(file).selected == "interrupted"
    assert len(Run.load(file).records) == 3 and Path("out/leaderboard.md").read_text() == "of before"
    result.stdout.fnmatch_lines([f"interrupted: tables and figures stay as they were; `dipddpm report {file}` *"])
    assert main(["baseline", "promote", str(file), "--reason", "x", "--out", "c.json"]) == 2
    assert not Path("c.json").exists()


def test_the_file_of_a_session_that_runs_is_no_whole_run(session, capsys):
    """As a kill would leave it."""
    Path("bench/bench_zz.py").write_text(
        "import shutil\nfrom pathlib import Path\n"
        "def bench_copy(record): shutil.copy(next(Path('out').glob('run-*.json')), 'killed.json')\n"
    )
    assert session().ret == 0
    assert Run.load(Path("killed.json")).selected == "unfinished"
    assert main(["baseline", "promote", "killed.json", "--reason", "x", "--out", "c.json"]) == 2
    assert "the run is not whole (unfinished) and is no baseline" in capsys.readouterr().err


def test_a_part_of_the_suites_leaves_the_report_of_the_whole(session):
    Path("reports/latest").mkdir(parents=True)
    Path("reports/latest/leaderboard.md").write_text("of all")
    assert session.bare("-k", "cell").ret == 0
    assert Path("reports/latest/leaderboard.md").read_text() == "of all"
    assert "not the whole of the suites: -k 'cell'" in Path(".dipddpm/reports/leaderboard.md").read_text()
    assert session.bare().ret == 0
    assert "# planted" in Path("reports/latest/leaderboard.md").read_text()


def test_a_file_beside_its_folder_is_the_whole(session):
    """Suites that are asked for by name, added to all others."""
    (suite,) = Path("bench").glob("bench_*.py") if session().ret == 0 else ()
    assert session(str(suite)).ret == 0
    assert {Run.load(file).selected for file in Path("out").glob("run-*.json")} == {""}


def test_several_processes_are_refused(session):
    pytest.importorskip("xdist")
    result = session("-n", "2", no_reraise_ctrlc=True)
    assert result.ret == 2
    result.stderr.fnmatch_lines(["*-n: a benchmark's processes would slow each other down*"])


def test_nan_is_1_and_named(session):
    session.promoted()
    result = session("--baseline", "b.json", psnr="float('nan')")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["regression*noise / 1 / 0*psnr*NaN in 8 of 8 values*"])


def test_an_unsteady_machine_is_4(session):
    session.promoted()
    busy = "planted_gate.ratios(yardstick_noise=0.5)"
    result = session("--baseline", "b.json", time=busy, again=busy)
    assert result.ret == 4 and "busy machine" in result.stdout.str()


# Real runs

PLANT = """
import dipddpm.restore as restore
import torch

right = restore.restore

def worse(denoiser, observation, mu, setting, rng):
    x_hat, nfe = right(denoiser, observation, mu, setting, rng)
    if setting.nfe == 1:  # 10 log10 of a mean squared error that is 12 % larger is 0.5 dB
        return x_hat, nfe + 1
    return x_hat + 0.35 * (x_hat - observation.pinv).abs().mean() * torch.sign(x_hat - 0.1), nfe

restore.restore = worse
"""
SMALL = [
    "--profile", "smoke", "--axis", "task=super_resolution", "--axis", "dip.architecture=deep_decoder",
    "--axis", "dip.iterations=2", "--axis", "images=2", "--axis", "validation_images=1", "--axis", "trials=1",
    "--axis", "nfe=1,2", "-k", "super_resolution-pinv",
]  # fmt: skip


def bench(tmp_path, cache, *options, path=None):
    command = [
        sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:cacheprovider", "--results", str(tmp_path / "results"),
        "--cache", str(tmp_path / cache), *SMALL, *options,
    ]  # fmt: skip
    if path:
        command[3:3] = ["-p", "planted_loss"]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_worse_sampler_and_a_wrong_count_are_named(tmp_path):
    """One real run becomes the baseline; the next has a loss and an evaluation too many planted in its sampler."""
    made = bench(tmp_path, "cache")
    assert made.returncode == 0, made.stdout
    file, baseline = next((tmp_path / "results").glob("run-*.json")), tmp_path / "b.json"
    run = Run.load(file)
    assert "pinv" in run.selected
    run.selected = ""  # a whole run takes too long here
    run.save(file)
    assert main(["baseline", "promote", str(file), "--reason", "a test", "--out", str(baseline)]) == 0

    (tmp_path / "planted_loss.py").write_text(PLANT)
    planted = bench(tmp_path, "other", "--baseline", str(baseline), path=tmp_path)
    assert planted.returncode == 1, planted.stdout
    table = [line for line in planted.stdout.splitlines() if line.startswith("regression")]
    assert any("pinv / 1 / 0" in line and "nfe" in line and "2, baseline 1" in line for line in table), planted.stdout
    assert any("pinv / 2 / 0" in line and "psnr" in line for line in table), planted.stdout
