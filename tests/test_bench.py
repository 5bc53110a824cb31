"""The product as its users run it: a subprocess, real options, a kill, a second run that finds everything."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from dipddpm.measure.record import Run

ROOT = Path(__file__).parent.parent
SMALL = [
    "--profile", "smoke", "--axis", "task=super_resolution", "--axis", "dip.architecture=deep_decoder",
    "--axis", "dip.iterations=4", "--axis", "images=3", "--axis", "validation_images=2", "--axis", "trials=1",
    "--axis", "judge=psnr",
    "-k", "bench_control or bench_duration or bench_ablation or bench_dip_fit",
]  # fmt: skip


def bench(tmp_path, *options, wait=True):
    command = [
        sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:cacheprovider", "--results", str(tmp_path / "results"),
        "--cache", str(tmp_path / "cache"), *options,
    ]  # fmt: skip
    # A worker of xdist says by its environment what it is, and pytest-benchmark writes no file in one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process.communicate()[0] if wait else process, process


def latest(tmp_path):
    return Run.load(max((tmp_path / "results").glob("run-*.json")))


@pytest.mark.long
def test_a_run_is_killed_resumed_and_found_again(tmp_path):
    process, _ = bench(tmp_path, *SMALL, wait=False)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "cache").rglob("run_arm/*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    kept = set((tmp_path / "cache").rglob("*.json"))
    assert len(kept) >= 5
    files = {p: p.stat().st_ino for p in kept}

    output, process = bench(tmp_path, *SMALL)
    assert process.returncode == 0, output
    assert {p: p.stat().st_ino for p in kept} == files, "what was computed before the kill was computed again"
    assert "super_resolution" in output and "dip deep_decoder 4" in output and "leaderboard.md" in output
    run, table = latest(tmp_path), pd.read_csv(tmp_path / "results" / "leaderboard.csv")
    assert {"noise", "pinv", "bicubic", "oracle", "dip deep_decoder 4", "shuffled deep_decoder 4"} <= set(table["arm"])
    assert (tmp_path / "results" / "leaderboard.md").read_text().count("## ") >= 2

    entries = len(list((tmp_path / "cache").rglob("*.json")))
    output, process = bench(tmp_path, *SMALL)
    assert process.returncode == 0
    assert len(list((tmp_path / "cache").rglob("*.json"))) == entries, "a second run computed something"
    again = latest(tmp_path)
    assert [r.measures for r in again.records] == [r.measures for r in run.records]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "huge"], "unknown profile 'huge': choose from smoke, quick, standard, full"),
        (["--dataset", "imagenet"], "unknown data set 'imagenet': choose from"),
        (["--dataset", "folder:/no/such/place"], "folder /no/such/place: no such folder"),
        (["--denoiser", "unet:none.safetensors"], "checkpoint none.safetensors: no such file"),
        (["--axis", "dip.architecture=skipp"], "unknown DIP architecture 'skipp': choose from"),
        (["--axis", "task=deblur"], "unknown task 'deblur': choose from"),
        (["--axis", "generation.architecture=nope"], "unknown DIP architecture 'nope': choose from"),
        (["--extractor", "nope"], "unknown feature extractor 'nope': choose from"),
        (["--axis", "t0=5000"], "t0 of 5000: the denoiser has steps 0..999; lower --axis t0="),
        (["--device", "abacus"], "--device 'abacus' is not available here: choose cpu, cuda or auto"),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)
def test_bad_input_is_one_line(tmp_path, options, message):
    output, process = bench(tmp_path, *options)
    assert process.returncode != 0
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in output


def test_options_are_in_the_help():
    output = subprocess.run(
        [sys.executable, "-m", "pytest", "bench", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    for option in ("--profile", "--device", "--dataset", "--seed", "--results", "--cache", "--axis", "--denoiser"):
        assert re.search(rf"^\s+{option}", output.stdout, re.M), option


@pytest.mark.long
def test_native_pytest_benchmark_output_carries_our_metrics(tmp_path):
    file = tmp_path / "benchmark.json"
    output, process = bench(tmp_path, *SMALL[:-2], "-k", "pinv-at-1 or bench_dip_fit", "--benchmark-json", str(file))
    assert process.returncode == 0, output
    import json

    benchmarks = {b["name"]: b for b in json.loads(file.read_text())["benchmarks"]}
    (cell,) = (b for name, b in benchmarks.items() if "pinv-at-1" in name)
    assert cell["extra_info"]["psnr"] > 5 and cell["extra_info"]["arm"] == "pinv" and cell["stats"]["rounds"] == 1
    assert any("dip_fit" in name for name in benchmarks)
