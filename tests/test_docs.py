"""The documentation: its code runs, its commands parse, its links lead somewhere, its site builds without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from dipddpm.cli import _passing_on, parser
from dipddpm.dip import DeepImagePrior
from dipddpm.fitting import fit_dip
from dipddpm.rng import ImageRng
from dipddpm.tasks import task
from dipddpm.trackers import trackers

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *sorted((ROOT / "examples").rglob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)


def commands(page):
    """Every command of a page, without comments, continued lines joined."""
    lines = "".join(blocks(page, "sh") + blocks(page, "console")).replace("\\\n", " ").splitlines()
    for line in lines:
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if set(word) <= set(";&|"):
                yield words
                words = []
            else:
                words.append(word)


# ---- Links and commands -------------------------------------------------------------------------------------------


@every_page
def test_files_that_a_page_links_are_there(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


@every_page
def test_every_command_of_a_page_parses(page):
    session = ROOT / "dipddpm" / "session"
    declared = "".join((session / name).read_text(encoding="utf-8") for name in ("plugin.py", "suites.py"))
    declared += "".join(f'"--{name}"' for name in trackers())
    for words in commands(page):
        if words[:1] == ["torchrun"]:
            words = ["dipddpm", *words[words.index("dipddpm") + 1 :]]
        if words[:1] == ["dipddpm"]:
            assert parser().parse_args(_passing_on(words[1:])).module
        if words[:2] in (["pytest", "bench"], ["dipddpm", "bench"]):
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert all(f'"{option}"' in declared for option in options - {"--help", "--list"}), words


def test_pages_have_commands_to_check():
    assert sum(len(list(commands(page))) for page in PAGES) > 40


# ---- Code ---------------------------------------------------------------------------------------------------------


def test_the_architecture_that_is_shown_fits():
    (code,) = (code for page in PAGES for code in blocks(page, "python") if "class Tiny" in code)
    namespace: dict = {"__name__": "dipddpm_docs"}
    exec(code, namespace)
    (tiny,) = (
        kind
        for kind in namespace.values()
        if isinstance(kind, type) and issubclass(kind, DeepImagePrior) and kind is not DeepImagePrior
    )
    x_0 = torch.zeros(2, 3, 32, 32)
    fit = fit_dip(tiny, task("inpaint").observe(x_0, ImageRng([0, 1])), ImageRng([0, 1]), iterations=[0, 30])
    assert (fit.loss[1] < fit.loss[0]).all()


def run(command, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_python_of_a_page_runs(page, tmp_path):
    """One block after the other, as a reader would type them."""
    run([sys.executable, "-c", "\n".join(blocks(page, "python"))], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "console")], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_console_of_a_page_runs(page, tmp_path):
    """Lines after a $, in a folder that holds a photograph and nothing else."""
    Image.fromarray(data.chelsea()).save(tmp_path / "photo.png")
    for line in "".join(blocks(page, "console")).splitlines():
        program, *words = shlex.split(line.removeprefix("$ "))
        assert line.startswith("$ dipddpm ") and program == "dipddpm"
        run([sys.executable, "-m", "dipddpm", *words], tmp_path)


# ---- The site -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path):
    """Strict: a link, an anchor or a name of the API that leads nowhere is an error."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)], ROOT)
    assert "cannot tell" in (tmp_path / "answer" / "index.html").read_text(encoding="utf-8")
    assert "fit_dip" in (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "reports" / "reference" / "leaderboard" / "index.html").is_file()
