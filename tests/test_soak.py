"""What only shows after a long time: a training that is killed again and again, and sessions in one process."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dipddpm.data import open_dataset
from dipddpm.schedule import Schedule
from dipddpm.train import train
from dipddpm.training import TrainingSettings
from dipddpm.unet import UNet

ROOT = Path(__file__).parents[1]
KEPT = (40, 120)


def trained(out, steps, started=None):
    """A training of a network so small that most of its time goes into files."""
    torch.set_num_threads(1)
    images = open_dataset("photo-patches", size=8).images("validation")[:16]
    torch.manual_seed(0)
    model = UNet(size=8, channels=(8,), groups=4)
    if started is not None:
        started.set()
    train(
        images, images[:2], Path(out), model=model, schedule=Schedule.linear(50),
        settings=TrainingSettings(steps, batch=2), save_every=1, keep_at=KEPT,
    )  # fmt: skip


def lives(out, steps, kills, rng):
    """Train until it is done, killing it at random moments; how many kills there were."""
    context, done = multiprocessing.get_context("forkserver"), 0
    context.set_forkserver_preload(["dipddpm.train", "dipddpm.data.photo_patches", "safetensors.torch"])
    while True:
        started = context.Event()
        life = context.Process(target=trained, args=(out, steps, started))
        life.start()
        if done < kills:
            assert started.wait(120)
            time.sleep(rng.uniform(0, 0.7))
            os.kill(life.pid, signal.SIGKILL)
        life.join(300)
        if life.exitcode == 0:
            return done
        assert life.exitcode == -signal.SIGKILL
        done += 1


def killed_and_whole(tmp_path, steps, kills):
    trained(tmp_path / "whole" / "a.safetensors", steps)
    (tmp_path / "killed").mkdir()
    done = lives(tmp_path / "killed" / "a.safetensors", steps, kills, random.Random(0))
    for name in ("a", *(f"a-{at}" for at in KEPT if at <= steps)):
        one, other = (load_file(tmp_path / which / f"{name}.safetensors") for which in ("whole", "killed"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    curves = [json.loads((tmp_path / which / "a.json").read_text())["loss_curve"] for which in ("whole", "killed")]
    assert curves[0] == curves[1]
    left = {path.name for path in (tmp_path / "killed").iterdir()} - {
        path.name for path in (tmp_path / "whole").iterdir()
    }
    assert all("partial" in name or "lock" in name for name in left), left
    return done


@pytest.mark.long
def test_a_training_that_is_killed_sixty_times_has_the_same_numbers(tmp_path):
    assert killed_and_whole(tmp_path, steps=300, kills=60) >= 50


SESSIONS = """
import gc, sys
import psutil, pytest
out, count, cache = sys.argv[1], int(sys.argv[2]), sys.argv[3]
own, sizes = psutil.Process(), []
for i in range(count):
    code = pytest.main([
        "bench", "-q", "-p", "no:cacheprovider", "--no-header", "--profile", "smoke", "--axis", "task=super_resolution",
        "--axis", "judge=psnr", "-k", "bench_control and (noise-at-1 or blur-at-1)", "--results", out, "--cache", cache,
    ])
    assert code == 0, code
    gc.collect()
    sizes.append(own.memory_info().rss / 2**20)
print("SIZES", *[f"{size:.1f}" for size in sizes])
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="sizes of a process are read as Linux gives them")
def test_fifty_sessions_in_one_process_take_no_more_memory_than_ten(tmp_path):
    arguments = [str(tmp_path / "out"), "50", str(tmp_path / "cache")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", SESSIONS, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=3000,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("SIZES")]
    sizes = [float(size) for size in line.split()[1:]]
    grown = (sum(sizes[40:]) - sum(sizes[10:20])) / 10
    assert grown < 15, f"{grown / 30:.2f} MiB a session: {line}"
