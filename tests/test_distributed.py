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


def command(out):
    """A small ``dipddpm train`` with priors to make."""
    text = "train --device cpu --size 16 --channels 8,16 --held-out 4 --lr 3e-3 --steps 6 --batch 8"
    text += " --injection residual --prior pinv --task inpaint"
    return [*text.split(), "--out", str(out), "--cache", str(out.parent / "cache")]


def test_two_processes_give_the_numbers_of_one(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main(command(one)) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--master-port", str(free_port()), "-m", "dipddpm", *command(two)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1, "the second process spoke"
    a, b = load_file(one), load_file(two)
    assert a.keys() == b.keys() and all(torch.allclose(a[key], b[key], atol=1e-5) for key in a)
    assert a["head.2.weight"].any(), "nothing was learnt"
    records = [json.loads(path.with_suffix(".json").read_text()) for path in (one, two)]
    assert [record["processes"] for record in records] == [1, 2]
    (last,), (other,) = (record["loss_curve"] for record in records)
    assert last == pytest.approx(other, abs=1e-4)
    assert records[1]["injection"] == "residual" and records[1]["priors"]["prior"] == "pinv"


def test_a_batch_that_cannot_be_shared_out():
    ALONE.check(7)
    with pytest.raises(InputError, match="a batch of 7 cannot be shared out evenly over 2 processes"):
        Processes(0, 2).check(7)


def test_the_slices_make_up_the_batch():
    batch = torch.arange(12)
    assert torch.equal(torch.cat([Processes(rank, 3).share(batch) for rank in range(3)]), batch)
    assert ALONE.share(batch) is batch
