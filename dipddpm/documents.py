"""Files that come from outside, checked at the door: JSON of a schema, and tensors of the shapes that were announced.

Whatever a file holds instead is refused in one line. Nothing is built of a file before this has read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from msgspec import Meta, Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from dipddpm.errors import InputError
from dipddpm.measure.escape import visible
from dipddpm.measure.strict_json import json_of
from dipddpm.paths import shown

Kind = TypeVar("Kind")
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Seconds = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[float, Meta(ge=0, le=1e12)]


class WeightsRecord(Struct):
    """What every record beside a file of weights says, whatever else it says: the hash that the file must have."""

    sha256: Hash


class TrainedRecord(WeightsRecord):
    """What the record of a training on degraded photographs says besides."""

    training_seconds: Seconds
    size: Annotated[int, Meta(ge=1, le=8192)]


def read_document(text: bytes | str, kind: type[Kind], what: str) -> Kind:
    """The value of a JSON text that has the type ``kind``, as msgspec checks it.

    Raises:
        InputError: it has not; the message begins with ``what``.
    """
    try:
        return json_of(text, kind)
    except ValueError as error:
        raise InputError(f"{what} is damaged ({brief(error)})") from error


def read_weights_with_record(path: Path, kind: type[Kind], what: str, verb: str) -> tuple[bytes, Kind, dict[str, Any]]:
    """The bytes of a file whose hash is in the ``.json`` beside it; that record as ``kind``, and all that it says.

    Args:
        what: the beginning of messages. verb: what writes both files.

    Raises:
        InputError: one of the two is missing or damaged, or they do not belong together.
    """
    file = path.with_suffix(".json")
    try:
        data, text = path.read_bytes(), file.read_bytes()
    except OSError as error:
        raise InputError(f"{what} {error.filename}: {error.strerror} ({verb} writes it and its record)") from error
    try:
        whole = json_of(text, dict[str, Any])
        record = json_of(text, kind)
    except ValueError as error:
        raise InputError(f"{what} {shown(file)}: not a record of {verb} ({brief(error)})") from error
    digest, expected = hashlib.sha256(data).hexdigest(), whole["sha256"]
    if digest != expected:
        raise InputError(f"{what} {shown(path)}: sha256 is {digest[:16]}..., its record says {expected[:16]}...")
    return data, record, whole


def tensors_of(data: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating ones as float32.

    Raises:
        InputError: it is none, or has numbers that torch cannot turn into float32.
    """
    return _read(lambda: {name: _float(tensor) for name, tensor in load(data).items()}, what)


def open_tensors(path: Path, what: str) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    """What a safetensors file says of itself, and its tensors as they are.

    Raises:
        InputError: no such file, or it is no safetensors file.
    """

    def read() -> tuple[Mapping[str, str], dict[str, Tensor]]:
        with safe_open(path, "pt") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118

    return _read(read, what)


def brief(error: BaseException | str) -> str:
    """The first line of a message, at most 200 characters of it."""
    first = visible(next(iter(str(error).strip().splitlines()), type(error).__name__))
    return first if len(first) <= 200 else f"{first[:197]}..."


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _read(read: Callable[[], Kind], what: str) -> Kind:
    try:
        return read()
    except FileNotFoundError as error:
        raise InputError(f"{what}: no such file") from error
    # torch has types of numbers that safetensors knows and it cannot convert; KeyError is a type that it lacks
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"{what}: not a safetensors file ({brief(error)})") from error


def check_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Raise InputError unless ``weights`` are those that ``model`` has: every name, in its shape, all finite."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    other = f"{what}: not the network that it says it is"
    if odd := sorted(set(wanted) ^ set(weights)):
        raise InputError(f"{other}: it {'lacks' if odd[0] in wanted else 'has no place for'} the tensor {odd[0]!r:.80}")
    for name, shape in wanted.items():
        weight = weights[name]
        if tuple(weight.shape) != shape:
            raise InputError(f"{other}: its tensor {name} is {tuple(weight.shape)}, and should be {shape}")
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            count = int((~weight.isfinite()).sum())
            raise InputError(
                f"{what}: {count} of {weight.numel()} values of its tensor {name} are NaN or infinite; the training "
                f"diverged or the file is damaged, take an earlier one"
            )
