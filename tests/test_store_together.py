"""Several processes on one store: each result is computed once; a kill or a hang of one does not stop the others."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dipddpm.measure.store import DamagedResult, Store

ROOT = Path(__file__).parent.parent
MODULE = """
import os, time
from pathlib import Path

def fit(n, folder):
    with open(f"{folder}/computed", "a") as told:
        told.write(f"{n} {os.getpid()}\\n")
    Path(folder, f"begun-{n}").touch()
    time.sleep(0.15)
    return {"n": n}
"""
PROCESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from planted_fit import fit
from dipddpm.measure.store import Store

store = Store(Path(sys.argv[1], "cache"))
Path(sys.argv[1], f"ready-{sys.argv[2]}").touch()
while not Path(sys.argv[1], "go").exists():
    time.sleep(0.01)
for n in range(int(sys.argv[3])):
    assert store.measured(fit, {"n": n, "folder": sys.argv[1]}).value == {"n": n}
"""


@pytest.fixture
def processes(tmp_path):
    (tmp_path / "planted_fit.py").write_text(MODULE.replace("\\\\", "\\"))
    started = []

    def start(count, results):
        for i in range(count):
            command = [sys.executable, "-c", textwrap.dedent(PROCESS), str(tmp_path), str(i), str(results)]
            started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        until(lambda: len(list(tmp_path.glob("ready-*"))) == count, started)
        (tmp_path / "go").touch()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(condition, started):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and all(p.poll() in (None, 0, -9) for p in started), "it did not happen"
        time.sleep(0.01)


def computed(folder):
    return [line.split()[0] for line in (folder / "computed").read_text().splitlines()]


@pytest.mark.long
def test_four_processes_compute_each_result_once(processes, tmp_path):
    started = processes(4, 12)
    assert [process.wait() for process in started] == [0] * 4, started[0].stderr.read()
    assert sorted(computed(tmp_path), key=int) == [str(n) for n in range(12)]


@pytest.mark.long
def test_a_killed_process_keeps_no_lock(processes, tmp_path):
    started = processes(2, 1)
    until((tmp_path / "begun-0").exists, started)
    at_work = int((tmp_path / "computed").read_text().split()[1])
    os.kill(at_work, signal.SIGKILL)
    assert sorted(process.wait(timeout=60) for process in started) == [-9, 0], "the other one went on"
    assert computed(tmp_path) == ["0", "0"]


def answer(a: int) -> dict:
    return {"a": a}


def rests_on_another(store_at: str, a: int) -> dict:
    return dict(STORE[0].measured(answer, {"a": a}).value)


STORE: list[Store] = []


def test_a_process_that_hangs_is_waited_for_only_so_long(tmp_path):
    from filelock import FileLock

    store = Store(tmp_path, patience=0.2)
    key = store.key(answer, {"a": 1})
    with (
        FileLock(store._lock_file(key)),
        pytest.warns(UserWarning, match="computed here too: another process"),
    ):
        assert store.measured(answer, {"a": 1}).fresh
    assert not store.measured(answer, {"a": 1}).fresh


def test_a_result_that_rests_on_another_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("dipddpm.measure.store.LOCKS", 1)  # all share a lock, which would be the worst case
    STORE[:] = [Store(tmp_path, patience=60)]
    started = time.monotonic()
    assert STORE[0].measured(rests_on_another, {"store_at": "here", "a": 3}).value == {"a": 3}
    assert time.monotonic() - started < 50


def test_a_result_that_is_used_says_when(tmp_path):
    store = Store(tmp_path)
    file = tmp_path / "answer" / f"{store.measured(answer, {'a': 1}).key}.json"
    os.utime(file, (1, 1))
    assert not store.measured(answer, {"a": 1}).fresh
    assert time.time() - file.stat().st_mtime < 60


def test_results_that_can_only_be_read_are_used(tmp_path, monkeypatch):
    Store(tmp_path).measured(answer, {"a": 1})

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert not Store(tmp_path).measured(answer, {"a": 1}).fresh


def test_one_bit_anywhere_in_a_stored_result_is_noticed(tmp_path):
    import test_rot

    store = Store(tmp_path)
    file = tmp_path / "answer" / f"{store.measured(answer, {'a': 1}).key}.json"
    for _ in test_rot.flips(file, seed=3):
        with pytest.warns(DamagedResult, match="is damaged or incomplete; it is computed again"):
            assert store._load(file.with_suffix("")) is None
