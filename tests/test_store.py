"""The store finds by content, forgets what its code no longer says, and loses nothing to a kill."""

import importlib
import math
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from dipddpm import sampling
from dipddpm.dip.skip import SkipNet
from dipddpm.fitting import plain as fitting
from dipddpm.measure.content import digest, own_digest, source_digest, tensor_digest
from dipddpm.measure.files import write_text
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.store import Store


def compute():
    return {"answer": 42}, {"x": torch.arange(3.0)}


def test_computed_once_then_found(tmp_path):
    store, calls = Store(tmp_path), []

    def counted():
        calls.append(1)
        return compute()

    first = store.measured("cells", {"a": 1}, [sampling], counted)
    again = Store(tmp_path).measured("cells", {"a": 1}, [sampling], counted)
    assert first.fresh and not again.fresh and len(calls) == 1
    assert again.info == {"answer": 42} and torch.equal(again.tensors["x"], torch.arange(3.0))
    assert again.seconds == first.seconds > 0 and again.memory == first.memory
    assert store.measured("cells", {"a": 2}, [sampling], counted).fresh


def test_the_runner_runs_the_work(tmp_path):
    ran = []
    Store(tmp_path).measured("cells", {}, [sampling], compute, run=lambda work: (ran.append(1), work()))
    assert ran == [1]


def test_a_damaged_entry_is_computed_again(tmp_path):
    store = Store(tmp_path)
    key = store.measured("cells", {}, [sampling], compute).key
    (tmp_path / "cells" / f"{key}.safetensors").write_bytes(b"cut")
    assert store.measured("cells", {}, [sampling], compute).fresh
    (tmp_path / "cells" / f"{key}.json").write_text("{")
    assert store.measured("cells", {}, [sampling], compute).fresh
    assert not store.measured("cells", {}, [sampling], compute).fresh


@pytest.mark.parametrize("text", [b"{}", b"null", b"[]", b'{"info": {}, "tensors": []}', b"\xff\xfe"])
def test_an_entry_that_lacks_something_is_absent(tmp_path, text):
    store = Store(tmp_path)
    key = store.measured("cells", {}, [sampling], compute).key
    (tmp_path / "cells" / f"{key}.json").write_bytes(text)
    assert store.measured("cells", {}, [sampling], compute).fresh


def test_a_cell_that_diverged_is_kept_as_what_it_is(tmp_path):
    def diverged():
        return {"psnr": [math.nan, 20.0], "validation": -math.inf, "t0": None}, {}

    assert Store(tmp_path).measured("cells", {}, [sampling], diverged).fresh
    found = Store(tmp_path).measured("cells", {}, [sampling], diverged)
    assert not found.fresh and math.isnan(found.info["psnr"][0]) and found.info["psnr"][1] == 20.0
    assert found.info["validation"] == -math.inf and found.info["t0"] is None


def test_a_failure_leaves_no_entry(tmp_path):
    def fails():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Store(tmp_path).measured("cells", {}, [sampling], fails)
    assert not list(tmp_path.rglob("*.json"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, one importing the other, and a third that stands alone."""
    folder = tmp_path / "planted_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text("def half(x):\n    return x / 2\n")
    (folder / "top.py").write_text(
        "from planted_package.base import half\n\ndef quarter(x):\n    return half(half(x))\n"
    )
    (folder / "alone.py").write_text("def one():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def digest_now(of=lambda name: source_digest([sys.modules[name].quarter])):
        for name in [n for n in sys.modules if n.startswith("planted_package")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        for cached in ("_source", "_tree", "_code", "_imports"):
            getattr(importlib.import_module("dipddpm.measure.content"), cached).cache_clear()
        return of(importlib.import_module("planted_package.top").__name__)

    return folder, digest_now


def test_source_digest_follows_imports_and_ignores_words(package):
    folder, now = package
    before = now()
    (folder / "base.py").write_text('def half(x):\n    """Half of x."""\n    return x / 2  # why not\n')
    assert now() == before, "a comment threw away results"
    (folder / "alone.py").write_text("def one():\n    return 2\n")
    assert now() == before, "a module that is not imported counts"
    (folder / "base.py").write_text("def half(x):\n    return x / 3\n")
    assert now() != before, "a change of the code kept old results"


def test_the_code_of_a_suite_is_not_that_of_what_it_measures(package):
    folder, now = package
    before = now(own_digest)
    (folder / "base.py").write_text("def half(x):\n    return x / 3\n")
    assert now(own_digest) == before
    (folder / "top.py").write_text("def quarter(x):\n    return x / 4\n")
    assert now(own_digest) != before


def test_the_code_of_a_fit_is_not_that_of_a_table():
    from dipddpm.measure import content

    closure, todo = set(), {fitting.__name__, SkipNet.__module__}
    while todo:
        name = todo.pop()
        closure.add(name)
        todo |= content._imports(name) - closure
    assert {"dipddpm.stacking", "dipddpm.rng", "dipddpm.dip", "dipddpm.tasks"} <= closure
    assert not any(
        name.startswith("dipddpm.measure") or name in ("dipddpm.restore", "dipddpm.experiments.arms")
        for name in closure
    )


def test_digests():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    x = torch.zeros(2, 3)
    assert tensor_digest(x) == tensor_digest(x.clone())
    assert len({tensor_digest(t) for t in (x, x.reshape(3, 2), x.double(), x + 1)}) == 4


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_memory_and_clock_on_a_gpu():
    from dipddpm.measure.instruments.timer import synchronised

    with PeakMemory("cuda") as peak:
        block = torch.ones(64, 1024, 1024, dtype=torch.uint8, device="cuda")
        del block
    assert peak.added >= 64 * 2**20
    a = torch.randn(4096, 4096, device="cuda")
    started = synchronised()
    for _ in range(50):
        a = a @ a
    assert synchronised() - started > 0.005  # the queue alone takes microseconds
