"""What tests share."""

import gc

import pytest
import torch
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


@pytest.fixture
def same_kernels(monkeypatch):
    """Float32 proper and kernels that give the same bits again; all of it is put back afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # monkeypatch cannot put these back: they are no attributes of the modules, but looked up by them.
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = False, False, False
    torch.use_deterministic_algorithms(True, warn_only=True)  # a few gradients have no such kernel
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
