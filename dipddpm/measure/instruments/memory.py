"""Peak memory of a stage: the bytes it added on top of what was allocated when it began."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import torch

from dipddpm.measure.instruments.allocator import give_back

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """``with PeakMemory() as peak: ...`` and then ``peak.added``, in bytes.

    On a GPU this is the peak of torch's allocator. On a CPU it is resident memory: the kernel's own high-water mark
    where Linux allows it to be reset, and otherwise the largest value that a thread saw, looking a hundred times per
    second.
    """

    added: int

    def __init__(self, device: torch.device | str = "cpu"):
        self._cuda = torch.device(device).type == "cuda"
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        give_back()  # memory that the C library kept after a free is resident already, so that its use would go unseen
        self._before = self._seen = psutil.Process().memory_info().rss
        try:
            CLEAR_REFS.write_text("5", encoding="utf-8")  # resets VmHWM to the present size: see proc(5)
        except OSError:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._cuda:
            peak = torch.cuda.max_memory_allocated()
        elif self._watcher:
            self._stop.set()
            self._watcher.join()
            peak = max(self._seen, psutil.Process().memory_info().rss)
        else:
            line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
            peak = int(line.split()[1]) * 1024
        self.added = max(0, peak - self._before)

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.01):
            self._seen = max(self._seen, process.memory_info().rss)
