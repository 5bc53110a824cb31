"""What is published works where nothing else of the repository is: sdist and wheel, in an empty folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from dipddpm import __version__

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.long


def python(folder, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=os.environ | environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that was built from it as an installer would."""
    pytest.importorskip("build", reason="needs build and hatchling")
    folder = tmp_path_factory.mktemp("dist")
    python(ROOT, "-m", "build", "--no-isolation", "--outdir", str(folder))
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel, installed by pip; what it depends on is that of this environment."""
    folder = tmp_path_factory.mktemp("site")
    python(folder, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder), str(built[1]))
    return folder


def test_the_wheel_holds_the_suites_and_nothing_of_the_tests(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    suites = {f"dipddpm/bench_suites/{file.name}" for file in (ROOT / "bench").glob("*.py")}
    assert suites <= names and {"dipddpm/cli/bench.ini", "dipddpm/cli/templates/dip.py.txt"} <= names
    info = f"dipddpm-{__version__}.dist-info/"
    assert {name.partition("/")[0] for name in names} == {"dipddpm", info.rstrip("/")}
    assert not [name for name in names if "__pycache__" in name] and built[1].stat().st_size < 25e6


def test_the_sdist_holds_what_is_built_and_tested(built):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "bench/bench_controls.py", "tests/test_wheel.py"} <= names


def test_the_benchmark_runs_from_an_empty_folder(installed, tmp_path):
    said = python(
        tmp_path, "-m", "dipddpm", "bench", "controls", "--profile", "smoke", "--axis", "task=inpaint",
        "--axis", "images=2", "--axis", "validation_images=2", "--axis", "trials=1", "--axis", "judge=psnr",
        "-k", "biharmonic or noise", "--results", "out", PYTHONPATH=str(installed),
    )  # fmt: skip
    assert "leaderboard" in said and "biharmonic" in (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} <= {".dipddpm", "out"}
    where = python(tmp_path, "-c", "import dipddpm; print(dipddpm.__file__)", PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)


def test_the_suites_are_listed_with_their_questions(installed, tmp_path):
    listed = python(tmp_path, "-m", "dipddpm", "bench", "--list", PYTHONPATH=str(installed)).splitlines()
    assert len(listed) == len(list((ROOT / "bench").glob("bench_*.py")))
    assert any(line.startswith("duration ") and "?" in line for line in listed)
