"""reconstruction: the naive protocol that people publish, kept so that its numbers can be seen for what they are."""

from __future__ import annotations

from typing import ClassVar

from dipddpm.rng import ImageRng
from dipddpm.tasks import Consistency, Task
from dipddpm.tasks.denoise import Identity


class Reconstruction(Task):
    """y is the photograph: the DIP is fitted to the very image that it is scored on, the reverse diffusion is not held
    to anything. Every row leaks the target."""

    name = "reconstruction"
    description = "the clean target is the observation (leaks; not a restoration)"
    consistency: ClassVar[Consistency] = "none"
    leak = "clean-target"

    def operator(self, rng: ImageRng, size: int) -> Identity:
        return Identity()
