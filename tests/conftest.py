"""What tests share."""

import gc

import pytest
from torch import Tensor

from dipddpm import batches
from dipddpm.data import open_dataset, to_float
from dipddpm.priors import Evidence
from dipddpm.rng import ImageRng
from dipddpm.tasks import task, tasks


@pytest.fixture
def limits(monkeypatch):
    """A process that knows nothing of its memory yet."""
    monkeypatch.setattr(batches, "LIMITS", batches.MemoryLimits())
    gc.freeze()  # every attempt that fails collects garbage: of this test, not of all that was imported
    yield batches.LIMITS
    gc.unfreeze()


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Three crops of photographs, (3, 3, 32, 32) in [-1, 1]."""
    return to_float(open_dataset("photo-patches").sample("test", 3))


@pytest.fixture(scope="module")
def evidence(photographs):
    """{task: the evidence}, for every task that observes something."""
    observed = {
        name: task(name).observe(photographs, ImageRng([3, 1, 4])) for name in tasks() if name != "reconstruction"
    }
    return {name: Evidence(observation) for name, observation in observed.items()}
