"""Calls as bytes that another process understands. What is large travels apart, under a name, once for all calls.

A tensor from ``LARGE`` bytes on, and an object that is known by a fingerprint (a network, an extractor), is a *part*:
the bytes of a call hold its name alone, which is a hash of its content.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dipddpm.documents import brief
from dipddpm.errors import InputError
from dipddpm.measure.content import tensor_digest
from dipddpm.measure.store import Call

LARGE = 64 * 1024  # bytes of a tensor
KEPT = 1 << 30  # bytes of parts that a process keeps unpacked


@dataclass(frozen=True)
class Parcel:
    """A call, packed.

    Attributes:
        key: of its result in the store; kind: the name of its function.
        content: the call; parts: {name: its bytes} of what travels apart.
    """

    key: str
    kind: str
    content: bytes = field(repr=False)
    parts: Mapping[str, bytes] = field(repr=False)


def pack(call: Call, device: str, known: dict[str, bytes]) -> Parcel:
    """A call for another process.

    Args:
        device: that the work runs on.
        known: parts that were packed before, by name; new ones are added.

    Raises:
        InputError: an argument that cannot be sent, a compiled network for one.
    """
    written = io.BytesIO()
    pickler = _Pickler(written, known)
    try:
        pickler.dump((call, device))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(
            f"{call.function.__name__}: its arguments cannot be sent to a worker ({brief(error)})"
        ) from error
    parts = {name: known[name] for name in pickler.named}
    return Parcel(call.key, call.function.__name__, written.getvalue(), parts)


class _Pickler(pickle.Pickler):
    """Leaves what is large to ``known``, and collects the names of it in ``named``."""

    def __init__(self, file: io.BytesIO, known: dict[str, bytes]):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.known, self.named = known, dict[str, None]()

    def persistent_id(self, value: object) -> str | None:
        if type(value) is Tensor and value.untyped_storage().nbytes() >= LARGE:
            name = f"{tensor_digest(value)} {value.stride()} {value.device}"
        elif isinstance(fingerprint := getattr(value, "fingerprint", None), str) and not isinstance(value, type):
            name = f"{type(value).__qualname__} {fingerprint}"
        else:
            return None
        if name not in self.known:
            # Pickling a view would send the whole tensor that it is a part of.
            own = value.clone() if isinstance(value, Tensor) else value
            self.known[name] = pickle.dumps(own, protocol=pickle.HIGHEST_PROTOCOL)
        self.named[name] = None
        return name


class Unpacker:
    """Unpacks calls; a part that was unpacked before is the same object again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[object, int]] = OrderedDict()

    def lacks(self, names: list[str]) -> list[str]:
        """The parts that are not here yet."""
        return [name for name in names if name not in self._kept]

    def unpack(self, content: bytes, part: Callable[[str], bytes]) -> tuple[Call, str]:
        """The call, and the device that it is to run on.

        Args:
            part: gives the bytes of a part that is lacking.
        """
        unpickler = _Unpickler(io.BytesIO(content), lambda name: self._part(name, part))
        call, device = unpickler.load()
        while sum(size for _, size in self._kept.values()) > KEPT and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return call, device

    def _part(self, name: str, part: Callable[[str], bytes]) -> object:
        if name not in self._kept:
            written = part(name)
            self._kept[name] = pickle.loads(written), len(written)
        self._kept.move_to_end(name)
        return self._kept[name][0]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, part: Callable[[str], object]):
        super().__init__(file)
        self.part = part

    def persistent_load(self, name: str) -> object:
        return self.part(name)
