"""Two real processes through torchrun: the numbers of one at the same batch, and one voice."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dipddpm.cli import main
from dipddpm.distributed import ALONE, Processes
from dipddpm.errors import InputError

ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def command(out, injection):
    """A small ``dipddpm train`` with priors to make, or initial weights to fit."""
    text = "train --device cpu --size 16 --channels 8,16 --held-out 4 --lr 3e-3 --steps 6 --batch 8"
    text += f" --injection {injection} --prior pinv --task inpaint --dip-iterations 3"
    return [*text.split(), "--out", str(out), "--cache", str(out.parent / "cache")]


def torchrun(*arguments):
    """What two processes did that were started together."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*run, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("injection", ["residual", "weights"])
def test_two_processes_give_the_numbers_of_one(tmp_path, injection):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main(command(one, injection)) == 0
    done = torchrun("-m", "dipddpm", *command(two, injection))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1, "the second process spoke"
    a, b = load_file(one), load_file(two)
    # Where a gradient is rounding alone (a bias before a norm), Adam makes steps of it.
    assert a.keys() == b.keys() and all(torch.allclose(a[key], b[key], atol=1e-4) for key in a)
    assert a["head.2.weight"].any(), "nothing was learnt"
    records = [json.loads(path.with_suffix(".json").read_text()) for path in (one, two)]
    assert [record["processes"] for record in records] == [1, 2]
    (last,), (other,) = (record["loss_curve"] for record in records)
    assert last == pytest.approx(other, abs=1e-4)
    assert records[1]["injection"] == injection and [r["priors"] for r in records] == [records[0]["priors"]] * 2
    assert records[0]["initialised"] == records[1]["initialised"]


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
