"""The runner for a machine with a GPU, handed steps that pass, fail, hang and do not exist; none needs a GPU."""

import base64
import hashlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def script(name):
    """A script of .ci as a module; its dataclasses look themselves up among the modules."""
    loader = SourceFileLoader(f"ci_{name}", str(ROOT / ".ci" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


gpu, wheels = script("gpu"), script("wheels")


def python(code):
    return "{python} -c " + shlex.quote(code)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No seconds of grace, no card, and a torch that need not be imported."""
    monkeypatch.setattr(gpu, "GRACE", 0.3)
    monkeypatch.setattr(gpu, "TORCH", "print('2.0'); print(True)")
    monkeypatch.setattr(gpu, "ask_card", lambda query: [])


@pytest.fixture
def run(tmp_path, capsys):
    """``run(steps, ...)``: the exit code, the rows of the table by step, and what was printed."""

    def run(*steps, options=(), out=tmp_path / "out"):
        code = gpu.main(["--out", str(out), *options], {1: steps})
        rows = [line.split(" | ") for line in (out / "steps-1.md").read_text().splitlines()[4:] if line[:1] == "|"]
        return code, {row[0].removeprefix("| "): row[1] for row in rows}, capsys.readouterr()

    return run


def gone(pid):
    """Whether a process has ended, within a second; one that nobody has waited for yet has."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


# ---- Steps --------------------------------------------------------------------------------------------------------


def test_a_step_that_fails_or_does_not_exist_stops_no_other(run, tmp_path):
    code, outcomes, printed = run(
        gpu.Step("fails", python("print('so far'); raise SystemExit(3)"), 10),
        gpu.Step("absent", "no-such-command --here", 10),
        gpu.Step("forgets", python("pass"), 10, leaves="forgets/run.json"),
        gpu.Step("passes", python("import sys; print('done', file=sys.stderr)"), 10),
    )
    assert code == 1
    assert outcomes == {
        "fails": "exit 3",
        "absent": "cannot start: No such file or directory: no-such-command",
        "forgets": "passed, but left no forgets/run.json",
        "passes": "passed",
    }
    logs = tmp_path / "out" / "part1"
    assert "so far" in (logs / "fails.log").read_text() and "done" in (logs / "passes.log").read_text()
    assert printed.out.splitlines() == (tmp_path / "out" / "steps-1.md").read_text().splitlines()[4:]


def test_all_passed(run):
    assert run(gpu.Step("passes", python("pass"), 10), gpu.Step("too", python("pass"), 10))[0] == 0


def test_a_step_is_told_of_the_run_of_smoke(run, tmp_path):
    made = "import pathlib; f = pathlib.Path(r'{results}'); f.mkdir(); (f / 'run-1.json').write_text('')"
    look = "import pathlib, sys; sys.exit(not pathlib.Path(r'{run}').is_file())"
    assert run(gpu.Step("smoke", python(made), 10), gpu.Step("compare", python(look), 10))[0] == 0


def test_a_step_that_hangs_is_ended_with_its_children(run, tmp_path):
    """Neither of the two heeds Ctrl-C."""
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    pids = tmp_path / "pids"
    parent = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{p.pid}}'); {child}"
    )
    began = time.monotonic()
    code, outcomes, _ = run(gpu.Step("hangs", python(parent), 3), gpu.Step("passes", python("pass"), 30))
    assert code == 1 and outcomes == {"hangs": "killed after 3 s", "passes": "passed"}
    assert time.monotonic() - began < 50  # both would sleep for a minute
    assert all(gone(pid) for pid in pids.read_text().split())


def test_a_step_that_is_stopped_can_keep_what_it_has(run, tmp_path):
    """Its Ctrl-C reaches it even if the runner was begun with Ctrl-C ignored, as a background job of a shell is."""
    kept = tmp_path / "kept"
    saves = f"import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: open({str(kept)!r}, 'w')"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, outcomes, _ = run(gpu.Step("trains", python(saves), 1, open_ended=True))
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 0 and outcomes == {"trains": "went on to its limit of 1 s"} and kept.exists()


def test_no_step_begins_when_little_time_is_left(run, monkeypatch):
    monkeypatch.setattr(gpu, "LEAST", 0.5)
    sleeps = gpu.Step("sleeps", python("import time; time.sleep(60)"), 60)
    code, outcomes, _ = run(sleeps, gpu.Step("late", python("pass"), 60), options=["--within", "0.8"])
    assert code == 1 and list(outcomes) == ["sleeps", "late"]
    assert outcomes["sleeps"].startswith("killed after ") and outcomes["late"] == "skipped: 0 s were left"


def test_what_is_known_is_on_disk_when_a_step_begins(run, tmp_path):
    """The table and the archive hold the steps before, while the next one runs."""
    out = tmp_path / "out"
    looks = (
        f"import tarfile; assert '| first | passed |' in open({str(out / 'steps-1.md')!r}).read(); "
        f"assert 'part1/first.log' in tarfile.open({str(out / 'part1.tar.gz')!r}).getnames()"
    )
    assert run(gpu.Step("first", python("pass"), 10), gpu.Step("second", python(looks), 10))[0] == 0


def test_an_interrupted_run_leaves_its_table_and_no_process(run, tmp_path, monkeypatch):
    pid = tmp_path / "pid"
    interrupts = (
        f"import os, signal, time; open({str(pid)!r}, 'w').write(str(os.getpid())); "
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    )
    code, outcomes, printed = run(
        gpu.Step("first", python("pass"), 10), gpu.Step("second", python(interrupts), 10), gpu.Step("third", "true", 10)
    )
    assert code == 130 and outcomes == {"first": "passed", "second": "interrupted"} and gone(pid.read_text())
    assert printed.err.startswith("interrupted: ")


# ---- Files --------------------------------------------------------------------------------------------------------


def test_the_archive_holds_what_is_small_and_the_table_names_the_rest(run, tmp_path):
    writes = (
        "from pathlib import Path; folder = Path('{results}'); folder.mkdir(); "
        "(folder / 'run.json').write_text('{}'); (folder / 'net.bin').write_bytes(bytes(3 << 20))"
    )
    out = tmp_path / "out"
    assert run(gpu.Step("made", python(writes), 10, leaves="made/run.json"))[0] == 0
    with tarfile.open(out / "part1.tar.gz") as tar:
        names = set(tar.getnames())
    assert names == {"machine.txt", "steps-1.md", "part1/made.log", "part1/made/run.json"}
    assert "- part1/made/net.bin, 3,145,728 bytes" in (out / "steps-1.md").read_text()
    assert sorted(file.name for file in out.iterdir()) == ["machine.txt", "part1", "part1.tar.gz", "steps-1.md"]


def test_the_archive_stays_within_its_total(tmp_path):
    for n in range(12):
        (tmp_path / str(n)).write_bytes(bytes(1 << 20))
    taken, left_out = gpu.small_files(tmp_path, 8 << 20)
    assert len(taken) == 7 and len(left_out) == 5


def test_steps_find_the_project_and_write_nothing_beside_it(run, tmp_path):
    looks = (
        "import os, sys, tempfile, dipddpm; from pathlib import Path; "
        f"assert Path(dipddpm.__file__).parent.parent == Path({str(ROOT)!r}); "
        "assert 'dipddpm-gpu-' in tempfile.gettempdir() and 'dipddpm-gpu-' in sys.pycache_prefix; "
        "assert 'dipddpm-gpu-' in '{cache}' and os.environ['PYTHONUNBUFFERED'] == '1'"
    )
    assert run(gpu.Step("looks", python(looks), 10))[0] == 0


# ---- The machine --------------------------------------------------------------------------------------------------


def test_clocks_are_recorded_where_a_card_answers(run, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(gpu, "SAMPLED_EVERY", 0.05)
    mhz = iter([345, 1980, 1980, *[1755] * 1000])
    monkeypatch.setattr(gpu, "ask_card", lambda query: [str(next(mhz)), "300.1", "41", "97"])
    run(gpu.Step("sleeps", python("import time; time.sleep(0.4)"), 10))
    assert "| 1755 / 1755 / 1980 |" in (tmp_path / "out" / "steps-1.md").read_text()
    lines = (tmp_path / "out" / "part1" / "clocks.csv").read_text().splitlines()
    assert lines[0].startswith("step,seconds,clocks.sm,power.draw") and lines[1].endswith(",1980,300.1,41,97")


@pytest.mark.parametrize(
    ("torch", "said", "code"),
    [
        ("print('2.0'); print(False)", "torch finds no CUDA device: what needs one is skipped or fails", 0),
        ("raise ImportError", f"{sys.executable} has no torch: no step was run", 1),
    ],
)
def test_a_machine_without_cuda_or_torch_is_named_in_a_line(run, tmp_path, monkeypatch, torch, said, code):
    monkeypatch.setattr(gpu, "TORCH", torch)
    done, _, printed = run(gpu.Step("passes", python("pass"), 10))
    assert done == code and printed.out.splitlines()[0] == said
    assert f"- {said}" in (tmp_path / "out" / "steps-1.md").read_text()
    assert "python: 3." in (tmp_path / "out" / "machine.txt").read_text()


def test_a_wheel_that_cannot_be_installed_leaves_the_others(run, tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "damaged-1.0-py3-none-any.whl").write_text("no zip")
    with zipfile.ZipFile(folder / "planted_peer-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in _wheel("planted_peer", {"planted_peer.py": b"answer = 42"}).items():
            wheel.writestr(name, text)
    finds = gpu.Step("finds", python("import planted_peer; assert planted_peer.answer == 42"), 10)
    code, outcomes, printed = run(finds, options=["--wheels", str(folder)])
    assert code == 0 and outcomes == {"finds": "passed"}
    assert printed.out.startswith("wheel not installed: damaged-1.0-py3-none-any.whl (ERROR: ")


def _wheel(name, files):
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: numpy>=1\n"
        'Requires-Dist: planted_need (>=2)\nRequires-Dist: sphinx; extra == "doc"\n'.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_sha256(data)},{len(data)}" for path, data in files.items()]
    return files | {f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,\n"]).encode()}


def _sha256(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


# ---- The command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "no folder for logs and results: --out DIR, or make gpu OUT=DIR"),
        (["--out", "x", "--only", "tests,nonsense"], "part 1 has no step nonsense: choose from tests, profile, peers"),
        (["--out", "x", "--wheels", "no/such"], "no folder no/such: fill it with .ci/wheels no/such"),
        (["--out", "x", "--part", "3"], "invalid choice: 3"),
    ],
)
def test_bad_options_are_answered_with_the_fix(options, said, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(options)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_make_without_a_folder_says_what_to_write():
    done = subprocess.run(["make", "gpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "make gpu OUT=DIR" in done.stderr and len(done.stderr.splitlines()) == 1


def test_only_some_steps(run):
    steps = [gpu.Step(name, python("pass"), 10) for name in ("fits-skip", "fits-unet", "train", "smoke")]
    assert list(run(*steps, options=["--only", "fits,smoke"])[1]) == ["fits-skip", "fits-unet", "smoke"]


def test_the_list_names_every_step(capsys):
    assert gpu.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {number} | {step.name} | " in printed for number, steps in gpu.PARTS.items() for step in steps)


# ---- Wheels -------------------------------------------------------------------------------------------------------


def test_a_wheel_without_the_weights_that_nobody_reads(tmp_path):
    whole, small = tmp_path / "planted-1.0-py3-none-any.whl", tmp_path / "small.whl"
    holds = {"planted/a.pth": b"a", "planted/b.pth": b"b", "planted/x.py": b""}
    with zipfile.ZipFile(whole, "w") as file:
        for name, data in _wheel("planted", holds).items():
            file.writestr(name, data)
    wheels.slim(whole, ["planted/a.pth"], small)
    names = zipfile.ZipFile(small).namelist()
    assert "planted/a.pth" in names and "planted/x.py" in names and "planted/b.pth" not in names
    assert wheels.broken(whole) == wheels.broken(small) == []
    assert b"planted/b.pth" not in zipfile.ZipFile(small).read("planted-1.0.dist-info/RECORD")
    assert wheels.missing([whole]) == ["planted-1.0-py3-none-any.whl needs planted-need"]


def test_a_damaged_wheel_is_found(tmp_path):
    file = tmp_path / "planted-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for name, data in _wheel("planted", {"planted/x.py": b"x = 1"}).items():
            wheel.writestr(name, data.replace(b"x = 1", b"x = 2"))
        wheel.writestr("planted/stray.py", b"")
    assert wheels.broken(file) == ["planted/stray.py", "planted/x.py"]


def test_the_weights_that_are_kept_are_those_that_are_read():
    from dipddpm.metrics.st_lpips import WEIGHTS

    assert wheels.weights_read() == f"{WEIGHTS.package}/{WEIGHTS.file}"
