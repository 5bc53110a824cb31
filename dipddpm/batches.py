"""Batches that fit into memory: where one does not, it is halved and goes on, and nothing that is done is done again.

Every image owns its randomness, so that a smaller batch is the same numbers, to the rounding of its kernels.
"""

from __future__ import annotations

import gc
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from dipddpm.errors import InputError

Done = TypeVar("Done")

SAID_BY = (  # what an allocator says that raises a plain RuntimeError
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class SmallerBatch(UserWarning):
    """A batch did not fit into memory, and a smaller one does."""


@dataclass
class MemoryLimits:
    """What this process found out about its memory.

    Attributes:
        sizes: images that fit at once, by stage; a stage that was never short of memory is not in it.
        lost: seconds of the attempts that ran out of memory.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    lost: float = 0.0


LIMITS = MemoryLimits()


class ChargedClock:
    """A clock that stands still for attempts that ran out of memory.

    That time is charged to no arm: whichever arm comes first would pay it once per process, and a run that is told
    which batch fits does not pay it at all. An arm is charged for its successful batches, small as they are. On a GPU,
    the end of work that was queued before a failed attempt may be left out as well.
    """

    def __init__(self, clock: Callable[[], float]):
        self.clock: Callable[[], float] = clock.clock if isinstance(clock, ChargedClock) else clock

    def __call__(self) -> float:
        return self.clock() - LIMITS.lost


def in_batches(stage: str, count: int, work: Callable[[slice], Done], at_most: int | None = None) -> list[Done]:
    """``work`` on a batch of ``count`` images: whole, or slice after slice where memory is short of that.

    Args:
        stage: what is done, and at which size. Messages name the work by it. The batch size that fits is remembered by
            it, so calls that need the same memory per image should share it.
        work: gets ``slice(None)`` for the whole batch, else ``slice(start, stop)``. It is called again after an attempt
            that ran out of memory, so it must undo what a failed attempt changed (:meth:`dipddpm.rng.ImageRng.attempt`
            does so for generators).
        at_most: images that a slice may have in any case.

    Returns:
        what ``work`` gave, slice by slice, in order.

    Raises:
        InputError: a single image does not fit.
    """
    size = min(count, at_most or count, LIMITS.sizes.get(stage, count))
    done, failed, results = 0, 0, list[Done]()
    while done < count:
        images = min(size, count - done)
        started = time.perf_counter()
        try:
            results.append(work(slice(None) if images == count else slice(done, done + images)))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the tensors of the attempt
        else:
            done += images
            if failed:
                LIMITS.sizes[stage] = images
                text = f"{stage}: out of memory with {failed} images at once, goes on with {images}"
                # From the project as a whole: a place in the code would be a second line, and of no use to the reader.
                warnings.warn_explicit(text, SmallerBatch, __package__, 0)
                failed = 0
            continue
        # Out here the exception is gone, and with it the last that held on to the attempt.
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        LIMITS.lost += time.perf_counter() - started
        if images == 1:
            raise InputError(
                f"{stage}: out of memory with a single image; free memory on the device, run on another one "
                f"(--device cpu, say), or take smaller images or a smaller network"
            )
        failed, size = failed or images, (images + 1) // 2
    return results


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator, of a GPU or of the CPU, had no more to give."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in SAID_BY)


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The slices as one batch; a single one as it is, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)
