"""What tests share."""

import gc

import pytest

from dipddpm import batches


@pytest.fixture
def limits(monkeypatch):
    """A process that knows nothing of its memory yet."""
    monkeypatch.setattr(batches, "LIMITS", batches.MemoryLimits())
    gc.freeze()  # every attempt that fails collects garbage: of this test, not of all that was imported
    yield batches.LIMITS
    gc.unfreeze()
