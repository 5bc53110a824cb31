"""The command line as a shell meets it: it answers at once, in any locale, and publishes whole runs alone."""

import argparse
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import planted
import pytest

from dipddpm import __version__
from dipddpm.cli import command_line, main
from dipddpm.experiments.stages import STAGES
from dipddpm.measure.gate.calibrate import PARTS
from dipddpm.measure.record import INTERRUPTED, UNFINISHED
from dipddpm.sampling import SAMPLERS
from dipddpm.session.figures import Figures

ROOT = Path(__file__).parent.parent
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, encoding="utf-8"
    )


# ---- Help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("train --help", 0),
        ("profile --help", 0),
        ("bench --help", 0),
        ("bench --list", 0),
        ("fit --help", 0),
        ("", 2),
        ("nonsense", 2),
        ("train --out x.safetensors --steps 0", 2),
    ],
)
def test_help_and_usage_errors_import_nothing_that_takes_seconds(options, code):
    done = shell("-X", "importtime", "-m", "dipddpm", *options.split())
    assert done.returncode == code, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    slow = {"torch", "numpy", "pandas", "scipy", "matplotlib", "pytest", "tqdm"}
    assert "dipddpm.cli.command_line" in imported and not imported & slow
    assert not [name for name in imported if name.startswith("dipddpm.experiments")]


def test_names_written_out_in_the_help_are_those_there_are():
    assert sorted(command_line.SAMPLERS) == sorted(SAMPLERS)
    assert list(command_line.STAGES) == list(STAGES) and command_line.CALIBRATED == PARTS


def verbs(parser=None, name=()):
    """{words: parser} of every verb, those below a verb included."""
    groups = [a for a in (parser or command_line.parser())._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        return {name: parser}
    return {words: p for verb, below in groups[0].choices.items() for words, p in verbs(below, (*name, verb)).items()}


def test_every_verb_has_a_module():
    named = {p.get_default("module") for p in verbs().values()}
    modules = {file.stem for file in (ROOT / "dipddpm" / "cli").glob("*.py")}
    shared = {"__init__", "checks", "command_line", "examples", "first_verbs", "options", "own_picture"}
    assert {f"dipddpm.cli.{name}" for name in modules - shared} == named


def test_completion_for_a_shell(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert "train-warm-start" in script and "--iterations" in script
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, encoding="utf-8")
    assert checked.returncode == 0, checked.stderr


def test_one_version():
    """Of the package, of what is published, and of what is cited; the changelog knows it."""
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    }
    assert f'\nversion = "{__version__}"\n' in texts["pyproject.toml"]
    assert f"\nversion: {__version__}\n" in texts["CITATION.cff"] and f"\n## {__version__}\n" in texts["CHANGELOG.md"]


# ---- Locales ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_report_in_a_locale_without_encoding(tmp_path):
    """Names of arms and settings are not ASCII, and neither is the report, whatever the locale says."""
    run = planted.experiment(+1.0, 0.0, treatments=1)
    run.title = "Größe → Qualität"
    run.settings["data"] = "folder:Фото"
    run.records.append(planted.record("débruitage", "control", [25.0] * 16, budget=5))
    run.save(tmp_path / "run.json")
    done = shell("-m", "dipddpm", "report", str(tmp_path / "run.json"), "--out", str(tmp_path / "né"), **PLAIN)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "né" / "leaderboard.md").read_text(encoding="utf-8")
    assert "# Größe → Qualität" in text and "folder:Фото" in text and "| débruitage " in text
    assert "wrote " in done.stdout and "leaderboard.md" in done.stdout


def test_printing_in_a_locale_without_encoding():
    program = (
        "from dipddpm.cli import main; import sys; code = main(sys.argv[1:]); print('\\u2192 \\xe9'); sys.exit(code)"
    )
    done = shell("-c", program, "report", "né.json", **PLAIN)
    assert done.returncode == 2 and "no such run file" in done.stderr
    assert r"\u2192 \xe9" in done.stdout and "Traceback" not in done.stderr


# ---- Publishing ---------------------------------------------------------------------------------------------------


@pytest.fixture
def latest(tmp_path, monkeypatch):
    """A run file and the report of its session in reports/latest, with a picture that no run file holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dipddpm.session.figures._draw", lambda run, folder: _drawn(folder, "chart"))
    run = planted.experiment(+1.0, 0.0, treatments=1)
    run.save(tmp_path / "runs" / "run.json")
    figures = Figures(Path("reports/latest/figures"))
    figures.add("grid-task", "key", lambda: _drawn(figures.folder, "grid-task"))
    assert main(["report", "runs/run.json"]) == 0
    figures.add("grid-task", "key", list)  # the first report of a folder knows of no pictures in it
    _drawn(figures.folder, "grid-task")
    figures.add("grid-task", "again", lambda: _drawn(figures.folder, "grid-task"))
    return run


def _drawn(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".svg"):
        (folder / name).with_suffix(suffix).write_text(name, encoding="utf-8")
    return [folder / f"{name}.png"]


def names(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


REPORT = [
    "chart.png", "chart.svg", "columns.md", "drawn-from.json", "index.html", "leaderboard.csv", "leaderboard.md",
    "made-from.json", "task-psnr.tex", "task-st_lpips.tex", "verdicts.tex",
]  # fmt: skip
PICTURES = ["grid-task.png", "grid-task.svg"]
PUBLISHED = [*REPORT, "REPRODUCE.md", "run.json.gz"]


def test_a_published_report_has_the_pictures_of_its_run(latest, capsys):
    assert main(["publish", "runs/run.json"]) == 0
    assert names("reports/reference") == sorted(PUBLISHED + PICTURES)
    assert "![grid-task](figures/grid-task.png)" in Path("reports/reference/leaderboard.md").read_text(encoding="utf-8")
    assert "wrote reports/reference/leaderboard.md" in capsys.readouterr().out
    assert main(["report", "runs/run.json"]) == 0 and names("reports/latest") == sorted(REPORT + PICTURES)


def test_a_published_report_is_of_no_other_run(latest, capsys):
    assert main(["publish", "runs/run.json"]) == 0
    for name in ("populations.csv", "tables/other-psnr.tex"):
        Path("reports/reference", name).write_text("of before", encoding="utf-8")
    planted.experiment(-1.0, 0.0, seed=1, treatments=1).save(Path("runs/other.json"))
    assert main(["publish", "runs/other.json"]) == 0
    assert names("reports/reference") == sorted(PUBLISHED) and "populations.csv" in capsys.readouterr().out
    assert json.loads(Path("reports/reference/figures/drawn-from.json").read_text(encoding="utf-8")).keys() == {
        "charts"
    }


def test_a_published_report_says_how_to_make_it_again(latest, capsys):
    run = planted.experiment(+1.0, 0.0, treatments=1)
    run.settings |= {
        "profile": "smoke nfe=1,5", "data": "folder:photos, 8 test images", "denoiser": "unet:a.safetensors 0123",
        "seeds": "3, 4",
    }  # fmt: skip
    run.origins = {"bench_controls": "abc"}
    run.save(Path("runs/run.json"))
    assert main(["publish", "runs/run.json"]) == 0
    folder = Path("reports/reference")
    text = (folder / "REPRODUCE.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("pytest "))
    assert command == (
        "pytest bench --profile smoke --axis nfe=1,5 --dataset folder:photos --denoiser unet:a.safetensors --seed 3"
    )
    assert gzip.decompress((folder / "run.json.gz").read_bytes()) == Path("runs/run.json").read_bytes()
    sums = [line.split("  ") for line in text.partition("## Checksums")[2].splitlines() if "  " in line]
    assert {"run.json.gz", "leaderboard.csv", "tables/verdicts.tex"} <= {name for _, name in sums}
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == found for found, name in sums)
    assert "| bench_controls | abc |" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"failed": 2}, "2 tests failed, so it is not published"),
        ({"selected": "-k 'inpaint'"}, "not a whole run (-k 'inpaint'), so it is not published"),
        ({"selected": UNFINISHED}, "not a whole run (unfinished)"),
        ({"selected": INTERRUPTED}, "not a whole run (interrupted)"),
        ({"records": []}, "holds no records"),
    ],
)
def test_what_is_not_published(tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    run = planted.experiment(+1.0, 0.0, treatments=1)
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(tmp_path / "run.json")
    assert main(["publish", "run.json"]) == 2
    err = capsys.readouterr().err
    assert f"dipddpm: run.json: {message}" in err and err.count("\n") == 1
    assert not Path("reports").exists()


def test_a_run_changes_no_file_under_version_control():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"reports/latest/", ".dipddpm/"} <= set(ignored)
    assert {path.name for path in (ROOT / "reports").iterdir()} <= {
        "reference",
        "latest",
        "nvidia-h100",
        "cifar10-jpeg",
    }
