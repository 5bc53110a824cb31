"""Every way out has its own exit code, and a disk that is full loses nothing that was finished."""

import json
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import planted_gate
import pytest
from scipy import special

from dipddpm.cli import main
from dipddpm.measure import exit_codes
from dipddpm.measure.files import CannotWrite, check_writable, is_partial, write_atomically, write_text
from dipddpm.measure.record import Run

pytest_plugins = ["pytester"]
LOADED = pd, special  # before a session in this process would load them and forget them: numpy is loaded once
ROOT = Path(__file__).parent.parent
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
import planted_gate
from pathlib import Path
from dipddpm.measure.store import Store

def fit():
    return {{"x": "a fit that took an hour " * 4000}}

def bench_good(record):
    record(planted_gate.cell(budget=1, origin=""))

def bench_other(record, request):
    {body}

def bench_last(record):
    record(planted_gate.cell(budget=7, origin=""))
"""
GOOD = "record(planted_gate.cell(budget=5, origin=''))"
STORED = "Store(Path('cache')).measured(fit, {})"


@pytest.fixture
def session(pytester, monkeypatch):
    """Runs a planted suite, one of whose cells is as asked, in a session of its own within this process."""
    monkeypatch.setattr("dipddpm.session.figures._draw", lambda run, folder: [])  # figures are not what is asked
    pytester.makeconftest(CONFTEST.format(tests=str(ROOT / "tests")))
    pytester.makeini("[pytest]\npython_files = bench_*.py\npython_functions = bench_*\n")
    (pytester.path / "bench").mkdir()
    suite = pytester.path / "bench" / f"bench_{pytester.path.name}.py"

    def run(body, *options):
        suite.write_text(SUITE.format(body=body))
        arguments = ["bench", "-p", "no:cacheprovider", "--results", "out", *options]
        return pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)

    return run


@contextmanager
def room_for(size):
    """Within, no file can grow beyond ``size`` bytes: the system refuses as it does where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (GOOD, 0, "wrote out"),
        ("raise ZeroDivisionError('of a |cell|')", 6, "wrote out"),
        ("record(planted_gate.cell(budget=5, origin='', diverged=2))", 7, "wrote out"),
        ("raise KeyboardInterrupt", 130, "interrupted: tables and figures stay"),
    ],
    ids=["good", "failed", "diverged", "stopped"],
)
def test_how_a_session_ends(session, body, code, said):
    ended = session(body)
    assert ended.ret == code
    assert said in ended.stdout.str()
    (file,) = Path("out").glob("run-*.json")
    run = Run.load(file)
    page = Path("out/index.html").read_text(encoding="utf-8") if code in (6, 7) else ""
    if code == 6:
        ((cell, why),) = run.failures.items()
        assert cell.endswith("::bench_other") and why == "ZeroDivisionError: of a |cell|"
        assert len(run.records) == 2, "the cells after it ran"
        assert f"- `{cell}`: `ZeroDivisionError: of a |cell|`" in Path("out/leaderboard.md").read_text()
        assert f"<dt><code>{cell}</code></dt><dd>ZeroDivisionError: of a |cell|</dd>" in page
        assert '<strong>1 cell failed</strong> and is missing below: <a href="#failed">' in page
    if code == 7:
        assert "- `inpaint: noise at 5 (seed 0)`: 2 of 8 images" in Path("out/leaderboard.md").read_text()
        assert "<dt><code>inpaint: noise at 5, seed 0</code></dt><dd>2 of 8 images diverged</dd>" in page
        assert "<strong>Images of 1 cell diverged.</strong>" in page


def test_a_full_disk_ends_the_session_and_loses_nothing(session):
    with room_for(20_000):
        ended = session(STORED)
    assert (
        ended.ret == 74 and "cannot be written (File too large): what was finished before is in" in ended.stdout.str()
    )
    (file,) = Path("out").glob("run-*.json")
    run = Run.load(file)
    assert [record.budget for record in run.records] == [1] and run.selected == "interrupted"
    assert not [path for path in Path().rglob("*") if is_partial(path)], "a part of a file is left"
    assert session(STORED).ret == 0, "there is room again"


def test_a_run_file_that_cannot_be_written_at_the_end(session):
    with room_for(8_000):
        ended = session(GOOD.replace("budget=5", "budget=5, n=200"))
    assert ended.ret == 74 and "INTERNALERROR" not in ended.stdout.str()


def test_an_internal_error_is_no_missing_baseline(session, pytester):
    pytester.syspathinsert()
    pytester.makepyfile(broken_hook="def pytest_collection_modifyitems(items): raise RuntimeError('a bug')")
    assert session(GOOD, "-p", "broken_hook").ret == 70


def test_a_suite_that_cannot_be_imported_is_a_failure(session):
    assert session("this is no Python").ret == 6


@pytest.mark.parametrize("option", ["--results", "--cache"])
def test_folders_are_checked_before_any_work(session, option):
    Path("file").write_text("mine")
    ended = session(GOOD, option, "file/below")
    assert ended.ret == 2 and f"choose another {option}" in ended.stderr.str()
    assert "Traceback" not in ended.stdout.str() + ended.stderr.str() and not list(Path().rglob("run-*.json"))


def test_sessions_of_one_moment_have_files_of_their_own(session, monkeypatch):
    moment = SimpleNamespace(now=lambda: datetime(2026, 11, 26, 12))
    monkeypatch.setattr("dipddpm.session.plugin.datetime", moment)
    assert session(GOOD).ret == session(GOOD).ret == 0
    assert len(list(Path("out").glob("run-20261126-120000-000000-*.json"))) == 2


def test_the_files_of_sessions_sort_by_time(session, monkeypatch):
    drawn = iter(["ff", "00"])
    monkeypatch.setattr("dipddpm.session.plugin.secrets", SimpleNamespace(token_hex=lambda _: next(drawn)))
    session(GOOD)
    (first,) = Path("out").glob("run-*.json")
    session(GOOD)  # in the same second, mostly
    assert min(Path("out").glob("run-*.json")) == first


# The command line


def test_a_crash_is_no_regression(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("dipddpm.session.reporting.write_report", lambda *_: 1 / 0)
    assert main(["report", str(saved(tmp_path)), "--out", str(tmp_path / "out")]) == 70
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error and error.endswith(
        "dipddpm: this is an error of dipddpm and not of its input: please report it\n"
    )


def saved(folder):
    planted_gate.run([planted_gate.cell(origin="")]).save(folder / "run.json")
    return folder / "run.json"


def test_a_disk_that_is_full_is_74_and_keeps_the_old_file(tmp_path, capsys):
    verb = ["baseline", "promote", str(saved(tmp_path)), "--reason", "x", "--out", str(tmp_path / "b.json")]
    assert main(verb) == 0
    before = (tmp_path / "b.json").read_bytes()
    with room_for(100):
        assert main(verb) == 74
    error = capsys.readouterr().err
    assert "b.json: cannot be written (File too large); what was finished before is kept" in error
    assert "Traceback" not in error and (tmp_path / "b.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "run.json"]


def test_output_that_nobody_takes_is_no_success(tmp_path):
    verb = [sys.executable, "-m", "dipddpm", "report", str(saved(tmp_path)), "--out", str(tmp_path / "out")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(verb, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert ended.returncode == 74 and "the disk is full" in ended.stderr
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(verb, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writing)
    assert ended.returncode == 141 and ended.stderr == ""


def test_one_table_says_them_all(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    documented = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|", documented, re.M))
    assert {int(code): text for code, text in rows.items()} == exit_codes.MEANINGS
    assert all(f"{code}  {meaning}" in shown for code, meaning in exit_codes.MEANINGS.items())
    assert len(set(exit_codes.MEANINGS)) == len([n for n in vars(exit_codes) if n.isupper() and n != "MEANINGS"])


@pytest.mark.parametrize("device", ["cpu:7", "meta", "abacus"])
def test_devices_that_are_not_there(device, capsys):
    assert main(["generate", "--count", "1", "--out", "/no/matter", "--device", device]) == 2
    assert f"--device {device!r} is not available here" in capsys.readouterr().err


# Files


def test_a_write_that_fails_says_where_and_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "first")

    def fail(partial):
        partial.write_text("sec")
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotWrite, match=r"^.*a\.txt: cannot be written \(No space left on device\)$"):
        write_atomically(tmp_path / "a.txt", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "first"
    with pytest.raises(CannotWrite, match="cannot be written to"):
        check_writable(tmp_path / "a.txt" / "below")
    check_writable(tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())


def test_a_number_of_failures_alone_is_still_read(tmp_path):
    """Runs of before had no reasons."""
    text = json.loads(saved(tmp_path).read_text())
    del text["failures"]
    (tmp_path / "run.json").write_text(json.dumps(text))
    assert Run.load(tmp_path / "run.json").failures == {}


def test_options_that_pytest_does_not_know_are_bad_input_and_not_undecided(capsys):
    assert main(["bench", "controls", "--no-such-option"]) == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err
