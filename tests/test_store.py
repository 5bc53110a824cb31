"""The store finds by content, notices what is damaged, and loses nothing to a kill."""

import json
import math
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import pytest
import torch

from dipddpm.measure.files import write_text
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.store import DamagedResult, Store


def answer(a: int = 1, x: torch.Tensor | None = None, clock=None) -> dict:
    """A stored function: what it gives, and a count of its calls."""
    calls.append(a)
    return {"answer": 42 * a, "x": torch.arange(3.0), "nested": {"pair": (1, [2.5, None])}}


def diverged() -> dict:
    return {"psnr": [math.nan, 20.0], "validation": -math.inf, "t0": None}


def fails() -> dict:
    raise RuntimeError("out of memory")


def returns_a_set() -> dict:
    return {"x": {1, 2}}


calls: list[int] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


def test_computed_once_then_found(tmp_path):
    store = Store(tmp_path)
    first, again = (made.measured(answer, {"a": 1}) for made in (store, Store(tmp_path)))
    assert first.fresh and not again.fresh and calls == [1]
    for found in (first, again):
        assert found.value["answer"] == 42 and torch.equal(found.value["x"], torch.arange(3.0))
        assert found.value["nested"] == {"pair": [1, [2.5, None]]}, "found as it was first given"
    assert again.seconds == first.seconds > 0 and again.memory == first.memory and again.key == first.key
    assert store.measured(answer, {"a": 2}).fresh
    assert not store.measured(answer, {"a": 2}, aside={"clock": time.perf_counter}).fresh, (
        "what lies aside decides nothing"
    )


def test_the_runner_runs_the_work(tmp_path):
    ran = []
    Store(tmp_path).measured(answer, {}, run=lambda work: (ran.append(1), work()))
    assert ran == [1]


def files_of(tmp_path, key):
    return [tmp_path / "answer" / f"{key}.{ending}" for ending in ("json", "safetensors")]


@pytest.mark.parametrize("which", [0, 1], ids=["json", "arrays"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "gone"])
def test_a_damaged_result_is_named_once_and_computed_again(tmp_path, which, damage):
    store = Store(tmp_path)
    file = files_of(tmp_path, store.measured(answer, {}).key)[which]
    written = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":  # a digit of a number, or a bit of a value: still JSON, still a safetensors file
        at = written.index(b"42") if which == 0 else len(written) - 2
        file.write_bytes(written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :])
    else:
        file.write_bytes(b"" if damage == "empty" else written[: len(written) // 2])
    if which == 0 and damage == "gone":  # a kill before it was written: nothing is said
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store.measured(answer, {}).fresh
    else:
        with pytest.warns(DamagedResult, match=r"answer/\w+\.json: this stored result is damaged") as told:
            assert store.measured(answer, {}).fresh
        assert len(told) == 1
    assert not store.measured(answer, {}).fresh and len(calls) == 2


@pytest.mark.parametrize("field", ["seconds", "memory", "value", "call"])
def test_no_part_of_a_stored_result_can_be_edited(tmp_path, field):
    store = Store(tmp_path)
    file = files_of(tmp_path, store.measured(answer, {}).key)[0]
    stored = json.loads(file.read_text())
    stored["content"][field] = -5
    file.write_text(json.dumps(stored))
    with pytest.warns(DamagedResult):
        assert store.measured(answer, {}).fresh


@pytest.mark.parametrize("text", [b"{}", b"null", b"[]", b'{"content": {}, "checksum": ""}', b"\xff\xfe"])
def test_a_result_that_lacks_something_is_computed_again(tmp_path, text):
    store = Store(tmp_path)
    files_of(tmp_path, store.measured(answer, {}).key)[0].write_bytes(text)
    with pytest.warns(DamagedResult):
        assert store.measured(answer, {}).fresh


def test_a_cell_that_diverged_is_kept_as_what_it_is_in_strict_json(tmp_path):
    assert Store(tmp_path).measured(diverged, {}).fresh
    found = Store(tmp_path).measured(diverged, {})
    assert not found.fresh and math.isnan(found.value["psnr"][0]) and found.value["psnr"][1] == 20.0
    assert found.value["validation"] == -math.inf and found.value["t0"] is None
    (file,) = tmp_path.rglob("*.json")
    json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_failure_leaves_no_result(tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"):
        Store(tmp_path).measured(fails, {})
    assert not list(tmp_path.rglob("*.json"))


def test_what_cannot_be_stored_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"value\.x: a set cannot be stored"):
        Store(tmp_path).measured(returns_a_set, {})


def test_the_machine_and_the_device_are_part_of_the_key(tmp_path, monkeypatch):
    here = Store(tmp_path).key(answer, {})
    assert Store(tmp_path, "meta").key(answer, {}) != here
    monkeypatch.setattr("dipddpm.measure.store.machine", lambda: {"id": "another"})
    assert Store(tmp_path).key(answer, {}) != here


def test_a_kill_while_writing_leaves_the_old_file_or_the_new(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from dipddpm.measure.files import write_text
        n = 0
        while True:
            write_text(Path(sys.argv[1]), str(n % 10) * 2_000_000)
            n += 1
        """
    )
    file = tmp_path / "result"
    for pause in (0.05, 0.11, 0.17):
        process = subprocess.Popen([sys.executable, "-c", program, str(file)])
        while not file.exists():
            time.sleep(0.01)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        text = file.read_text()
        assert len(text) == 2_000_000 and len(set(text)) == 1


def test_atomic_writes_tidy_up_after_a_failure(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(TypeError):
        write_text(tmp_path / "a", 3)
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def fill_64_mib():
    """New pages from the kernel: a tensor may be given heap that earlier tests freed, which adds nothing."""
    with mmap.mmap(-1, 64 * 2**20) as block:
        block.write(b"1" * len(block))
        time.sleep(0.1)  # the watching thread looks a hundred times a second


def test_peak_memory_sees_what_was_freed_again():
    with PeakMemory() as peak:
        fill_64_mib()
    assert 60 * 2**20 < peak.added < 200 * 2**20


def test_peak_memory_does_not_miss_what_fits_in_memory_freed_before():
    """In a process of its own, whose C library is told to keep what is freed."""
    program = textwrap.dedent("""
        import torch
        from dipddpm.measure.instruments.memory import PeakMemory
        before = [torch.ones(8, 1024, 1024, dtype=torch.uint8) for _ in range(20)]
        last = torch.ones(100)
        del before
        with PeakMemory() as peak:
            block = torch.ones(64, 1024, 1024, dtype=torch.uint8)
        print(peak.added)
    """)
    keep = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | keep, capture_output=True, text=True)
    assert int(done.stdout) > 60 * 2**20, done.stderr


def test_peak_memory_without_the_kernels_mark(monkeypatch, tmp_path):
    monkeypatch.setattr("dipddpm.measure.instruments.memory.CLEAR_REFS", tmp_path / "nowhere" / "clear_refs")
    with PeakMemory() as peak:
        fill_64_mib()
    assert peak.added > 60 * 2**20
