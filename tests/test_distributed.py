"""Two real processes through torchrun: the numbers of one at the same batch, and one voice."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numerics import apart, assert_same_to_rounding, rounding
from safetensors.torch import load_file

from dipddpm.cli import main
from dipddpm.distributed import ALONE, Processes
from dipddpm.errors import InputError

ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


UPDATES, LR = 6, 3e-3
# In a pass a layer, its norm and its activation round, and so do their gradients; an ulp of the learning rate is one
# such error in each weight. Each update makes them anew.
ROUNDINGS = 8 * UPDATES


def command(out, injection, lr=LR, device="cpu"):
    """A small ``dipddpm train`` with priors to make, or initial weights to fit."""
    text = f"train --device {device} --size 16 --channels 8,16 --held-out 4 --lr {lr!r} --steps {UPDATES} --batch 8"
    text += f" --injection {injection} --task inpaint --dip-iterations 3"
    priors = [] if injection == "weights" else ["--prior", "pinv", "--cache", str(out.parent / "cache")]
    return [*text.split(), "--out", str(out), *priors]


def torchrun(*arguments):
    """What two processes did that were started together."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*run, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("injection", ["residual", "weights"])
@pytest.mark.numerics
def test_two_processes_give_the_numbers_of_one(tmp_path, injection):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main(command(one, injection)) == 0
    done = torchrun("-m", "dipddpm", *command(two, injection))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1, "the second process spoke"
    a, b = load_file(one), load_file(two)
    # Half a batch is summed by each. A bias that a norm cancels is left out: its gradient is rounding alone, Adam makes
    # steps of it that may be anything up to whole ones, and nothing sees it. The losses below are those of all.
    control = tmp_path / "control.safetensors"
    assert main(command(control, injection, LR * (1 + 2.0**-23))) == 0
    moved = load_file(control)
    weights = [key for key in a if a[key].ndim > 1]
    growth = max(1.0, max(apart(a[key], moved[key]) for key in weights) / 2.0**-23)
    assert a.keys() == b.keys() and weights
    for key in weights:
        assert_same_to_rounding(b[key], a[key], operations=ROUNDINGS, growth=growth, what=key)
    assert a["head.2.weight"].any(), "nothing was learnt"
    records = [json.loads(path.with_suffix(".json").read_text()) for path in (one, two)]
    assert [record["processes"] for record in records] == [1, 2]
    (last,), (other,) = (record["loss_curve"] for record in records)
    # The loss is near 1 and smooth in the weights: it moves by no more than they do.
    assert last == pytest.approx(other, abs=rounding(ROUNDINGS, growth=growth))
    assert records[1]["injection"] == injection and [r["priors"] for r in records] == [records[0]["priors"]] * 2
    assert records[0]["initialised"] == records[1]["initialised"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices: NCCL takes one for each process")
@pytest.mark.parametrize("injection", ["residual", "weights"])
def test_two_cards_give_the_numbers_of_one(tmp_path, injection, monkeypatch):
    """As two processes on the CPU. TF32 is off in every process: it would round what they differ by to ten bits."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    files = {name: tmp_path / f"{name}.safetensors" for name in ("one", "control", "two")}
    for name, lr in (("one", LR), ("control", LR * (1 + 2.0**-23))):
        alone = [sys.executable, "-m", "dipddpm", *command(files[name], injection, lr, "cuda")]
        done = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    done = torchrun("-m", "dipddpm", *command(files["two"], injection, device="cuda"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1, "the second process spoke"
    a, b, moved = (load_file(files[name]) for name in ("one", "two", "control"))
    weights = [key for key in a if a[key].ndim > 1]
    growth = max(1.0, max(apart(a[key], moved[key]) for key in weights) / 2.0**-23)
    for key in weights:
        assert_same_to_rounding(b[key], a[key], operations=ROUNDINGS, growth=growth, what=key)
    assert json.loads(files["two"].with_suffix(".json").read_text())["processes"] == 2


TWO_NETWORKS = """
import sys
import torch
from torch import nn
from dipddpm.distributed import processes

with processes("cpu") as (group, device):
    torch.manual_seed(group.rank)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    model[1].running_mean.fill_(group.rank)
    model[1].num_batches_tracked.fill_(2**40 + group.rank)
    group.share_weights(model)
    torch.save(model.state_dict(), f"{sys.argv[1]}/{group.rank}.pt")
"""


@pytest.mark.long
def test_all_processes_begin_with_the_network_of_the_first(tmp_path):
    (tmp_path / "begin.py").write_text(TWO_NETWORKS)
    done = torchrun(str(tmp_path / "begin.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.manual_seed(0)
    assert torch.equal(first["0.weight"], torch.nn.Conv2d(3, 4, 3).weight)
    assert first["1.running_mean"].eq(0).all() and int(first["1.num_batches_tracked"]) == 2**40
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_batch_that_cannot_be_shared_out():
    ALONE.check(7)
    with pytest.raises(InputError, match="a batch of 7 cannot be shared out evenly over 2 processes"):
        Processes(0, 2).check(7)


def test_the_slices_make_up_the_batch():
    batch = torch.arange(12)
    assert torch.equal(torch.cat([Processes(rank, 3).share(batch) for rank in range(3)]), batch)
    assert ALONE.share(batch) is batch
