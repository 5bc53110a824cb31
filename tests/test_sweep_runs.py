"""Sweeps as their users run them, on processes and on real Ray clusters, through kills; and the recipes for SLURM.

All take minutes but the last ones: what a sweep computes is compared with what `pytest bench` computes, bit for bit.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sweep_calls import doubled

from dipddpm.measure.record import Run
from dipddpm.measure.store import Store
from dipddpm.sweep.on_ray import RayEngine
from dipddpm.sweep.parcels import pack
from dipddpm.sweep.worker import Terms

ROOT = Path(__file__).parent.parent
SMALL = [
    "--profile", "smoke", "--axis", "task=super_resolution", "--axis", "dip.architecture=deep_decoder",
    "--axis", "dip.iterations=4", "--axis", "images=3", "--axis", "validation_images=2", "--axis", "trials=1",
    "--axis", "judge=psnr", "--seed", "0",
]  # fmt: skip
SUITES = "bench_duration or bench_ablation or bench_dip_fit or bench_pictures"


def environment(**more):
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])} | more


def sweep(cache, *options, wait=True, **env):
    command = [sys.executable, "-m", "dipddpm", "sweep", *SMALL, "-k", SUITES, "--cache", str(cache), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return (process.communicate()[0], process) if wait else process


def bench(tmp_path, cache, *options):
    command = [
        sys.executable, "-m", "pytest", "bench", "-q", "-p", "no:cacheprovider", *SMALL, "-k", SUITES,
        "--results", str(tmp_path / f"report of {cache.name}"), "--cache", str(cache), *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return Run.load(max((tmp_path / f"report of {cache.name}").glob("run-*.json")))


def results(cache):
    """{(kind, key): checksum of its arrays and its value} of a store, without the paces that a report measures."""
    found = {}
    for file in (file for file in cache.glob("*/*.json") if file.parent.name != "time_stages"):
        content = json.loads(file.read_text())["content"]
        found[file.parent.name, file.stem] = content["arrays"], without_seconds(content["value"])
    return found


def without_seconds(value):
    """What a store keeps of a result, without its times."""
    if isinstance(value, dict):
        return {name: without_seconds(part) for name, part in value.items() if name not in ("seconds", "watching")}
    return value


def quality(run):
    return [
        (r.suite, r.group, r.arm, r.budget, [(n, m.values) for n, m in r.measures.items() if m.kind != "timing"])
        for r in run.records
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one session computes by itself, with one thread: the store and the run."""
    folder = tmp_path_factory.mktemp("alone")
    run = bench(folder, folder / "cache", "--threads", "1")
    return results(folder / "cache"), run


def same_as_alone(tmp_path, cache, alone):
    """`pytest bench`, with no word of threads, finds everything in a swept store, and says the same bit for bit."""
    kept = results(cache)
    run = bench(tmp_path, cache)
    assert results(cache) == kept, "the report computed something"
    assert kept == alone[0]
    assert quality(run) == quality(alone[1]) and run.machine["threads"] == 1


@pytest.mark.long
def test_two_processes_give_the_numbers_of_one_session(tmp_path, alone):
    output, process = sweep(tmp_path / "two", "--workers", "2")
    assert process.returncode == 0 and "points whole" in output, output
    same_as_alone(tmp_path, tmp_path / "two", alone)
    output, process = sweep(tmp_path / "two", "--workers", "1")
    assert process.returncode == 0 and "nothing to do" in output


@pytest.mark.long
def test_a_driver_that_is_killed_goes_on(tmp_path, alone):
    cache = tmp_path / "killed"
    process = sweep(cache, "--workers", "2", wait=False)
    deadline = time.monotonic() + 300
    while len(list(cache.glob("*/*.json"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    kept = {file: file.read_bytes() for file in cache.glob("*/*.json")}  # with the seconds that it took
    assert len(kept) >= 8 and list((cache / "claims").iterdir())
    for claim in (cache / "claims").iterdir():  # as two minutes make them
        os.utime(claim, (0, 0))
    output, process = sweep(cache, "--workers", "2")
    assert process.returncode == 0, output
    assert {file: file.read_bytes() for file in kept} == kept, "what was there was computed again"
    same_as_alone(tmp_path, cache, alone)


@pytest.mark.long
def test_two_sweeps_at_once_on_one_store_share_the_work(tmp_path, alone):
    cache = tmp_path / "shared"
    both = [sweep(cache, "--workers", "1", wait=False) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    computed = [int(text.rpartition(" results computed")[0].split()[-1]) for text in outputs]
    # Operations of networks are counted by the driver itself, and are no work of a sweep.
    work = [of for of in alone[0] if of[0] != "dip_flops"]
    assert min(computed) > 0 and sum(computed) == len(work), outputs
    same_as_alone(tmp_path, cache, alone)


@pytest.mark.long
def test_a_task_that_raises_is_told_and_the_rest_is_computed(tmp_path):
    """A plug-in's prior that raises on a worker; the other points are whole."""
    distribution = tmp_path / "theirs-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text("[dipddpm.priors]\nbroken = broken_prior:Broken\n")
    (tmp_path / "broken_prior.py").write_text(
        "from dipddpm.priors.pinv import PseudoInverse\n\n\nclass Broken(PseudoInverse):\n    name = 'broken'\n\n"
        "    def mu(self, evidence):\n        raise ValueError('planted in a plug-in')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    output, process = sweep(tmp_path / "cache", "-k", "broken-at-1 or dip-deep_decoder-4-at-1", PYTHONPATH=path)
    assert process.returncode == 6 and "ValueError: planted in a plug-in" in output, output
    assert list((tmp_path / "cache").glob("fit_observations/*.json"))


# ---- Ray ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_node_that_is_killed_in_mid_run_changes_nothing(tmp_path, alone, monkeypatch):
    """Two nodes of one CPU each beside a head without any. One is killed while it works; its task runs elsewhere."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    cache, log = tmp_path / "ray", tmp_path / "sweep.log"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=1)
        doomed = cluster.add_node(num_cpus=1)
        with log.open("w") as written:
            command = ["sweep", *SMALL, "-k", SUITES, "--cache", str(cache)]
            process = subprocess.Popen(
                [sys.executable, "-m", "dipddpm", *command, "--engine", "ray", "--address", cluster.address],
                cwd=ROOT, stdout=written, stderr=subprocess.STDOUT, env=environment(),
            )  # fmt: skip
            deadline = time.monotonic() + 300
            while len(list(cache.glob("*/*.json"))) < 8 and time.monotonic() < deadline:
                time.sleep(0.05)
            cluster.remove_node(doomed, allow_graceful=False)
            assert process.poll() is None, log.read_text()
            assert process.wait(timeout=900) == 0, log.read_text()
    finally:
        cluster.shutdown()
    output = log.read_text()
    print(output)
    # Ray itself may notice a lost node only when a sweep as short as this one is over.
    assert "is gone: what ran there runs again elsewhere, 2 nodes left" in output or "Raylet is terminated" in output
    same_as_alone(tmp_path, cache, alone)


@pytest.mark.long
def test_an_object_store_that_is_too_small_changes_nothing(tmp_path, monkeypatch):
    """Inputs and results of 120 MB on a node whose object store holds 80 MB: Ray lays what does not fit on disk."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", f"{environment()['PYTHONPATH']}{os.pathsep}{Path(__file__).parent}")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    try:
        engine = RayEngine(cluster.address, None, 0.0, Terms({}))
        store, inputs = Store(tmp_path), [torch.arange(30e6) + i for i in range(2)]
        parcels = [pack(store.call(doubled, {"x": x}), "cpu", {}) for x in inputs]
        for parcel in parcels:
            engine.submit(parcel)
        found = {}
        deadline = time.monotonic() + 300
        while len(found) < len(parcels) and time.monotonic() < deadline:
            found |= {answer.key: answer for answer in engine.answers(1.0)}
        engine.close()
    finally:
        cluster.shutdown()
    for parcel, x in zip(parcels, inputs, strict=True):
        answer = found[parcel.key]
        assert answer.made is not None, answer.error
        assert torch.equal(answer.made.value["x"], 2 * x)


# ---- SLURM --------------------------------------------------------------------------------------------------------

STAND_INS = {
    "srun": """#!/bin/bash
        while [[ $1 == --* ]]; do case $1 in --overlap) shift;; *) shift 2;; esac; done
        exec "$@"
    """,
    "scontrol": '#!/bin/bash\ntr , "\\n" <<< "$3"\n',
    "dipddpm": '#!/bin/bash\nexec "$PYTHON" -m dipddpm "$@"\n',
    "ray": '#!/bin/bash\nexec "$PYTHON" -m ray.scripts.scripts "$@"\n',
}


def script(tmp_path, name, *options, **env):
    """Run a script as SLURM does, with stand-ins for its commands that run everything on this machine."""
    commands = tmp_path / "bin"
    commands.mkdir(exist_ok=True)
    for command, text in STAND_INS.items():
        (commands / command).write_text(text)
        (commands / command).chmod((commands / command).stat().st_mode | stat.S_IXUSR)
    env = environment(PATH=f"{commands}:{os.environ['PATH']}", PYTHON=sys.executable, **env)
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / "slurm" / name), *options], cwd=ROOT, env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_an_array_hands_every_job_its_share(tmp_path):
    """Array 5-6: shares 0/2 and 1/2 of the points, on as many workers as the job has CPUs."""
    said = tmp_path / "said"
    STAND_IN = f'#!/bin/bash\necho "$@" >> {said}\n'
    for task in ("5", "6"):
        array = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "2"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(STAND_INS, "dipddpm", STAND_IN)
            code, output = script(
                tmp_path, "array.sbatch", "--profile", "smoke", SLURM_CPUS_PER_TASK="3", STORE="there", **array
            )
        assert code == 0, output
    shares = [f"sweep --worker {i}/2 --workers 3 --cache there --profile smoke" for i in (0, 1)]
    assert said.read_text().splitlines() == shares
    code, output = script(tmp_path, "array.sbatch", SLURM_ARRAY_TASK_ID="0")
    assert code != 0 and "run it with sbatch --array" in output


@pytest.mark.long
def test_an_array_of_jobs_without_a_common_store_is_merged(tmp_path, alone):
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "2"}
    for i in range(2):
        code, output = script(
            tmp_path, "array.sbatch", *SMALL, "-k", SUITES,
            SLURM_ARRAY_TASK_ID=str(i), STORE=str(tmp_path / f"{i}"), **array,
        )  # fmt: skip
        # Points that share a DIP fit are of one share, so that one of two may have none.
        assert code == 0 and ("points whole" in output or output.startswith("0 points")), output
    merged = [option for i in range(2) for option in ("--merge", str(tmp_path / f"{i}"))]
    output, process = sweep(tmp_path / "merged", *merged)
    assert process.returncode == 0 and "nothing to do" in output, output
    same_as_alone(tmp_path, tmp_path / "merged", alone)


@pytest.mark.long
def test_ray_on_slurm_sweeps_on_the_nodes_of_a_job(tmp_path):
    pytest.importorskip("ray")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    options = [*SMALL, "-k", "pinv-at-1", "--cache", str(tmp_path / "cache")]
    code, output = script(
        tmp_path, "ray.sbatch", *options, SLURM_JOB_NODELIST="127.0.0.1", SLURM_CPUS_PER_TASK="1", RAY_PORT="6397"
    )  # fmt: skip
    assert code == 0 and "points whole" in output, output
    assert list((tmp_path / "cache").glob("run_arm/*.json"))


# ---- CI -----------------------------------------------------------------------------------------------------------


def test_the_summary_of_a_job_has_gate_verdicts_and_tables(tmp_path):
    def said():
        command = [sys.executable, str(ROOT / ".ci" / "summary"), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "No baseline gate was held" in said()
    (tmp_path / "gate.md").write_text("# Baseline gate\n\n2 hold, 1 differs\n", encoding="utf-8")
    (tmp_path / "leaderboard.md").write_text(
        "# Run\n\n## inpaint\n\n**It does not pay.** n = 6\n\n**bold** row\n\n## other\n\ntext\n", encoding="utf-8"
    )
    text = said()
    assert (
        text.index("2 hold, 1 differs") < text.index("- inpaint: **It does not pay.** n = 6") < text.index("<details>")
    )
    assert "- inpaint: **bold**" not in text and "## other" in text
