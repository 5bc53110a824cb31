"""A batch that does not fit is halved and goes on; an attempt that failed leaves nothing behind."""

import warnings
import weakref
from itertools import chain

import pytest
import torch

from dipddpm.batches import ChargedClock, SmallerBatch, in_batches, is_out_of_memory
from dipddpm.errors import InputError
from dipddpm.rng import ImageRng
from dipddpm.tasks import task

pytestmark = pytest.mark.usefixtures("limits")


def attempts(fits, count, stage="work", at_most=None):
    """The slices that were tried, and those that went through."""
    tried = []

    def work(images):
        size = len(range(count)[images])
        tried.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(range(count)[images])

    return tried, in_batches(stage, count, work, at_most)


def test_a_batch_that_fits_is_called_for_once_and_whole(limits):
    seen = []
    assert in_batches("work", 5, lambda images: seen.append(images) or 7) == [7]
    assert seen == [slice(None)] and not limits.sizes and not limits.lost


def test_it_is_halved_until_it_fits_and_goes_on_from_there():
    with pytest.warns(SmallerBatch, match="^work: out of memory with 10 images at once, goes on with 3$") as said:
        tried, done = attempts(3, 10)
    assert tried == [10, 5, 3, 3, 3, 1] and [*chain(*done)] == [*range(10)] and len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attempts(3, 7)[0] == [3, 3, 1], "what was limits was forgotten"
        assert attempts(9, 7, stage="other work")[0] == [7], "another stage was made to pay for it"
        assert attempts(9, 10, stage="third", at_most=4)[0] == [4, 4, 2]


def test_memory_that_shrinks_on_the_way_loses_nothing():
    tried = []

    def work(images):
        wanted = list(range(12)[images])
        tried.append(len(wanted))
        if len(wanted) > (6 if len(tried) < 3 else 2):
            raise torch.OutOfMemoryError
        return wanted

    with pytest.warns(SmallerBatch) as said:
        assert [*chain(*in_batches("work", 12, work))] == [*range(12)]
    assert tried == [12, 6, 6, 3, 2, 2, 2]
    assert [str(one.message).partition("memory ")[2] for one in said] == [
        "with 12 images at once, goes on with 6", "with 6 images at once, goes on with 2",
    ]  # fmt: skip


def test_a_single_image_that_does_not_fit_is_one_line():
    with pytest.raises(InputError, match=r"^work at 32 px: out of memory with a single image; .*--device cpu") as error:
        attempts(0, 4, stage="work at 32 px")
    assert "\n" not in str(error.value) and error.value.__context__ is None  # no traceback that holds on to tensors


def test_other_errors_are_none_of_its_business():
    def fails(images):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches("work", 4, fails)


def test_the_allocators_of_the_cpu_counts():
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError()) and not is_out_of_memory(RuntimeError("out of ideas"))


def test_a_failed_attempt_is_let_go_before_the_next():
    class Large:
        """Stands for a tensor; part of a cycle, as a module with a closure is."""

        def __init__(self):
            self.me = self

    failed = []

    def fail(large):
        failed.append(weakref.ref(large))
        raise torch.OutOfMemoryError

    def work(images):
        assert all(attempt() is None for attempt in failed), "the attempt before is still in memory"
        large = Large()
        if len(range(4)[images]) > 1:
            fail(large)

    with pytest.warns(SmallerBatch):
        in_batches("work", 4, work)
    assert len(failed) == 2


def test_time_lost_is_not_charged(limits):
    now = [0.0]
    clock = ChargedClock(ChargedClock(lambda: now[0]))  # worn twice, it takes off once
    started = clock()
    now[0], limits.lost = 10.0, 4.0
    assert clock() - started == 6.0


def test_generators_forget_a_failed_attempt_and_remember_one_that_went_well():
    rng, expected = ImageRng([1, 2, 3]), ImageRng([1, 2, 3])
    before = expected.randn(4), expected.randn(4)
    with pytest.raises(RuntimeError), rng.attempt(slice(None)) as own:
        own.randn(9)
        raise RuntimeError
    for images in slice(0, 2), slice(2, 3):
        with rng.attempt(images) as own:
            assert len(own) == len(own.seeds) and torch.equal(own.randn(4), before[0][images])
    assert torch.equal(rng.randn(4), before[1])


@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "denoise_25"])
def test_a_part_of_an_observation_is_the_observation_of_a_part(name):
    x_0 = torch.rand(4, 3, 8, 8) * 2 - 1
    whole = task(name).observe(x_0, ImageRng(range(4)))
    alone = task(name).observe(x_0[1:3], ImageRng([1, 2]))
    for part in whole.part(slice(1, 3)), whole.part(torch.tensor([1, 2])):
        assert torch.equal(part.y, alone.y) and torch.equal(part.pinv, alone.pinv)
        assert (part.sigma, part.consistency) == (alone.sigma, alone.consistency)
