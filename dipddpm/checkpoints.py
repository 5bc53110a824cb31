"""The files of a training: its state, from which it goes on after a kill, and the checkpoints that it makes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct, convert
from torch import Tensor, nn

from dipddpm.denoisers.unet import checkpoint
from dipddpm.documents import Seconds
from dipddpm.errors import InputError
from dipddpm.measure.files import write_atomically, write_text
from dipddpm.measure.strict_json import json_of
from dipddpm.paths import shown
from dipddpm.training import Training
from dipddpm.unet import UNet

SIGN = b"sha256 "
"""What stands before the checksum at the end of a state."""
Save = Callable[[Path, Mapping[str, Tensor], dict], None]
"""``save(path, weights, record)`` writes a checkpoint."""


Loss = Annotated[float, Meta(ge=-1e300, le=1e300)]


class CourseFile(Struct):
    """:class:`Course` as a state holds it."""

    curve: list[Annotated[list[Loss], Meta(min_length=2, max_length=3)]]
    window: list[Loss]
    seconds: Seconds
    prior_seconds: Seconds


COURSE = CourseFile.__struct_fields__


def write_checkpoint(path: Path, data: bytes, record: Mapping[str, object]) -> None:
    """Write ``data`` to ``path`` and ``record`` of what made it, with the hash of the data, to ``.json`` beside it."""
    write_atomically(path, lambda partial: partial.write_bytes(data))
    text = json.dumps({**record, "sha256": hashlib.sha256(data).hexdigest()}, indent=1)
    write_text(path.with_suffix(".json"), text + "\n")


def save_checkpoint(path: Path, weights: Mapping[str, Tensor], record: Mapping[str, object]) -> None:
    """Write a denoiser, as ``unet:PATH`` opens it, and its record."""
    write_checkpoint(path, checkpoint(weights, record), record)


def state_file(out: Path) -> Path:
    """Where the state of a training lies that makes the checkpoint ``out``."""
    return out.with_suffix(f"{out.suffix}.state")


def read_state(file: Path, settings: Mapping[str, object]) -> dict | None:
    """What :func:`write_state` wrote, its tensors on the CPU; None where there is no such file.

    Raises:
        InputError: the file is damaged, or of a run with other settings.
    """
    if not file.exists():
        return None
    damaged = f"{shown(file)} is damaged: delete it, and the run begins anew"
    try:
        # A file without the checksum is one of an older version; nobody can say whether it is whole.
        written, sign, stated = file.read_bytes().rpartition(SIGN)
        if not sign or hashlib.sha256(written).hexdigest() != stated.decode("ascii", "replace"):
            raise ValueError("another checksum")
        state = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle that is none fails in as many ways as there are bytes
        raise InputError(damaged) from error
    if not isinstance(state, dict) or not isinstance(state.get("settings"), str):
        raise InputError(damaged)
    try:
        theirs = json_of(state["settings"], dict[str, Any])
        if set(COURSE) <= set(state):  # of a denoiser; other trainings keep other things
            convert({name: state[name] for name in COURSE}, CourseFile)
    except ValueError as error:
        raise InputError(damaged) from error
    other = [name for name in {**theirs, **settings} if theirs.get(name) != settings.get(name)]
    if other:
        raise InputError(
            f"{file} belongs to a run with other settings ({', '.join(other)}): delete it or choose another --out"
        )
    return state


@contextmanager
def going_on(file: Path, steps: int) -> Iterator[Callable[[int], None]]:
    """Within, what does not fit the run is said to be a damaged state. Hands out a check of the updates that are done.

    Raises:
        InputError: the state has other tensors than the run, or updates that the run does not have.
    """

    def check(done: int) -> None:
        if not 0 <= done <= steps:
            raise ValueError(f"{done} updates of {steps}")

    try:
        yield check
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{shown(file)} is damaged: delete it, and the run begins anew") from error


def write_state(file: Path, state: Mapping[str, object], settings: Mapping[str, object]) -> None:
    """Write all that :func:`read_state` gives back, the settings that it must be read with, and a checksum at the end.

    torch does not look at those of its own format: a flipped bit of a weight would be trained on.
    """
    whole = io.BytesIO()
    torch.save({**state, "settings": json.dumps(settings)}, whole)
    data = whole.getvalue()
    signed = data + SIGN + hashlib.sha256(data).hexdigest().encode()
    write_atomically(file, lambda partial: partial.write_bytes(signed))


@dataclass
class Course:
    """How a training went so far. It is part of the state: a run that goes on continues it.

    Attributes:
        curve: [update, mean loss of the updates since the point before]; window: losses since the last point, which a
            GPU may still be at work on.
        seconds: of all updates. prior_seconds: of the priors, or of the initial weights.
    """

    curve: list[list[float]] = field(default_factory=list)
    window: list[float | Tensor] = field(default_factory=list)
    seconds: float = 0.0
    prior_seconds: float = 0.0

    def add_point(self, at: int) -> float:
        """End the window at an update; its mean loss."""
        self.settle()
        loss = round(sum(map(float, self.window)) / len(self.window), 5)
        self.curve.append([at, loss])
        self.window.clear()
        return loss

    def settle(self) -> None:
        """Wait for the losses of the window, which are plain numbers from now on."""
        self.window = [float(loss) for loss in self.window]


@dataclass
class TrainingFiles:
    """What a training leaves on disk: its state, from which the same call goes on, and checkpoints with a record.

    Attributes:
        provenance: what a record says besides. score: the held-out loss of averaged weights, by step.
        saved: which state there is to go on from, for messages.
    """

    out: Path
    training: Training
    course: Course
    settings: Mapping[str, object]
    provenance: Mapping[str, object]
    score: Callable[[nn.Module], dict]
    save: Save
    saved: str

    def keep_state(self) -> None:
        """Write the state as it is now. Every process of a training calls this, and the first one writes."""
        self.course.settle()
        state, file = {"tensors": self.training.state(), **asdict(self.course)}, state_file(self.out)
        if self.training.processes.first:
            write_state(file, state, self.settings)
        self.saved = f"{file}, of update {self.training.done}"

    def keep_checkpoint(self, path: Path) -> dict:
        """Write the averaged weights as they are now; the record that is written with them."""
        self.training.check()
        record = self.record()
        self.save(path, self.training.ema.shadow, record)
        return record

    def record(self) -> dict:
        """What made the weights, and how good they are."""
        training, course = self.training, self.course
        averaged = UNet(**training.model.config).to(training.device)
        averaged.load_state_dict(training.ema.shadow)
        seen = training.done * training.settings.batch
        return {
            **self.settings,
            **self.provenance,
            "processes": training.processes.count,
            "updates": training.done,
            "images_seen": seen,
            "seconds": round(course.seconds, 1),
            "prior_seconds": round(course.prior_seconds, 1),
            "images_per_second": round(seen / course.seconds, 1) if course.seconds else None,
            "loss_curve": course.curve,
            "held_out_loss": self.score(averaged),
        }
