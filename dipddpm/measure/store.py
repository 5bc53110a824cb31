"""The store: what was computed once is found by its content, with the time and memory that it took."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dipddpm.measure.content import digest, source_digest
from dipddpm.measure.files import write_atomically, write_text
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.memory import PeakMemory
from dipddpm.measure.instruments.timer import synchronised

Compute = Callable[[], tuple[Mapping[str, object], Mapping[str, Tensor]]]
SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """A stored result.

    Attributes:
        key: hash of all that decides it.
        info: numbers and texts; tensors: arrays.
        seconds: wall-clock of computing it, once.
        memory: bytes it added at its peak.
        fresh: computed just now, not found.
    """

    key: str
    info: Mapping
    tensors: Mapping[str, Tensor]
    seconds: float
    memory: int
    fresh: bool


class Store:
    """Results under a folder, two files each, the JSON written last: an entry without it does not exist.

    Args:
        root: the folder.
        device: where the work runs, for its memory and for the key.
    """

    def __init__(self, root: Path, device: torch.device | str = "cpu"):
        self.root, self.device = root, torch.device(device)

    def key(self, kind: str, config: Mapping[str, object], sources: Sequence[object]) -> str:
        """The name of an entry: its configuration, the code that computes it, torch, and the machine it is timed on."""
        return digest(
            {
                "schema": SCHEMA,
                "kind": kind,
                "config": config,
                "source": source_digest(sources),
                "device": self.device.type,
                "machine": machine()["id"],
            }
        )

    def measured(
        self,
        kind: str,
        config: Mapping[str, object],
        sources: Sequence[object],
        compute: Compute,
        run: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> Entry:
        """The stored entry, or ``compute()`` timed and stored.

        Args:
            kind: family of the entry, a folder name.
            config: everything that decides the result besides the code, as JSON can hold it.
            sources: functions and classes whose code decides it.
            compute: gives (info, tensors).
            run: calls the work it is handed exactly once; a benchmark fixture can stand in here.
        """
        key = self.key(kind, config, sources)
        found = self._load(kind, key)
        if found:
            return found
        made: list[Entry] = []

        def work() -> None:
            with PeakMemory(self.device) as peak:
                started = synchronised()
                info, tensors = compute()
                seconds = synchronised() - started
            made.append(Entry(key, info, tensors, seconds, peak.added, fresh=True))

        run(work)
        (entry,) = made
        self._save(kind, entry, config)
        return entry

    def _save(self, kind: str, entry: Entry, config: Mapping[str, object]) -> None:
        base = self.root / kind / entry.key
        if entry.tensors:
            arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in entry.tensors.items()}
            write_atomically(base.with_suffix(".safetensors"), lambda partial: save_file(arrays, partial))
        text = {"info": entry.info, "config": config, "seconds": entry.seconds, "memory": entry.memory}
        # NaN stays NaN, which JSON has not but Python reads: the score of a cell that diverged is a result too.
        write_text(base.with_suffix(".json"), json.dumps(text | {"tensors": sorted(entry.tensors)}, indent=1))

    def _load(self, kind: str, key: str) -> Entry | None:
        base = self.root / kind / key
        try:
            stored = json.loads(base.with_suffix(".json").read_text())
            tensors = load_file(base.with_suffix(".safetensors"), str(self.device)) if stored["tensors"] else {}
            return Entry(key, stored["info"], tensors, stored["seconds"], stored["memory"], fresh=False)
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, SafetensorError):
            return None  # absent, or damaged by something else than us: computed again
