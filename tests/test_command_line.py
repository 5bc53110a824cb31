"""Every verb alike: its help ends with an example that parses, a bar for a terminal and no other, no colour, JSON."""

import argparse
import json
import os
import pty
import shlex
import subprocess
import sys
import termios
import time
from pathlib import Path

import planted
import planted_gate
import pytest
from PIL import Image

from dipddpm.cli import _passing_on, command_line, main
from dipddpm.cli.examples import EXAMPLES
from dipddpm.measure.gate.promote import promote

ROOT = Path(__file__).parent.parent


def verbs(parser=None, name=()):
    """{words: parser} of every verb, those above other verbs included."""
    groups = [a for a in (parser or command_line.parser())._actions if isinstance(a, argparse._SubParsersAction)]
    found = {name: parser} if name else {}
    for verb, below in groups[0].choices.items() if groups else ():
        found |= verbs(below, (*name, verb))
    return found


VERBS = {" ".join(words): parser for words, parser in verbs().items()}
# Verbs whose output a script reads: what they looked at, what came of it.
READ = (
    "report", "submit", "compare", "baseline promote", "doctor", "cache size", "cache prune", "cache verify", "profile",
    "data", "fit", "restore", "score",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_ends_with_an_example_that_parses(verb, capsys):
    for example in EXAMPLES[verb]:
        program, *words = shlex.split(example)
        args = command_line.parser().parse_args(_passing_on(words))
        assert program == "dipddpm" and " ".join(words).startswith(verb) and args.module
    with pytest.raises(SystemExit, match="0"):
        main([*verb.split(), "--help"])
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert lines[-len(EXAMPLES[verb]) :] == [f"  {example}" for example in EXAMPLES[verb]]


def test_no_example_is_of_a_verb_that_is_gone():
    assert EXAMPLES.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", READ)
def test_what_a_script_reads_is_had_as_json(verb):
    assert "--json" in VERBS[verb]._option_string_actions


# ---- JSON ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a run, a baseline and a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    planted_gate.run().save(tmp_path / "run.json")
    promote(planted_gate.run(), "first", tmp_path / "baseline.json")
    planted.experiment(+1.0, 0.0, treatments=1).save(tmp_path / "cells.json")
    Image.new("RGB", (40, 40), (200, 30, 60)).save(tmp_path / "photo.png")
    (tmp_path / "store").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "keys"),
    [
        ("compare run.json baseline.json", 0, {"outcome", "code", "section", "same_machine", "counts", "findings"}),
        ("compare cells.json baseline.json", 4, {"outcome", "findings"}),
        ("baseline promote run.json --reason again --out b.json", 0, {"wrote", "section", "entries"}),
        ("cache size --cache store", 0, {"functions", "all"}),
        ("cache verify --cache store", 0, {"sound", "damaged"}),
        ("cache prune --cache store --keep 0", 0, {"removed", "left"}),
        ("report cells.json --out out", 0, {"wrote", "refused"}),
        ("data", 0, None),
    ],
)
def test_standard_output_is_one_json_value(place, capsys, words, code, keys):
    assert main([*words.split(), "--json"]) == code
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and (keys is None or keys <= set(found))


@pytest.mark.long
def test_the_numbers_of_a_profile_and_of_the_doctor_as_json(place, capsys):
    assert main(["profile", "evaluation", "--batch", "2", "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["stage"] == "evaluation" and stage["seconds"] > 0 and stage["flops"] > 0
    assert main(["doctor", "--cache", "store", "--json"]) == 0
    looked = json.loads(capsys.readouterr().out)
    assert {"machine", "disk", "store"} <= {one["what"] for one in looked}


# ---- Progress -----------------------------------------------------------------------------------------------------

SLOW = {
    "report": "report cells.json --out out",
    "fit": "fit photo.png --size 32 --iterations 30 --out f",
    "restore": "restore photo.png --size 32 --iterations 20 --nfe 2 --arms noise,dip --out r",
    "train": "train --steps 20 --batch 4 --channels 8,8 --held-out 8 --out t.safetensors",
    "generate": "generate --count 4 --nfe 2 --out g",
    "doctor": "doctor --cache store",
    "profile": "profile evaluation --batch 2",
    "submit": "submit cells.json",
}


def in_a_terminal(words, folder):
    """What a command writes where its output is a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "dipddpm", *words.split()]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # as Linux says it: nobody holds the other end any more
            break
        if not part:
            break
        written += part
    os.close(ours)
    return written.decode(), process.wait()


@pytest.mark.long
@pytest.mark.parametrize("verb", SLOW)
def test_progress_is_for_a_terminal_alone_and_has_no_colour(verb, place):
    """A bar with the time that is left; in a pipe nothing but what the verb says."""
    written, code = in_a_terminal(SLOW[verb], place)
    assert code in (0, 2), written
    assert "%|" in written and "<" in written.split("%|")[1], written
    assert "\x1b[3" not in written and "\x1b[9" not in written and "\x1b[1m" not in written
    for name in ("t.safetensors", "t.safetensors.state"):
        (place / name).unlink(missing_ok=True)
    words = SLOW[verb].replace("--out g", "--out other")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dipddpm", *words.split()]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == code and "%|" not in done.stderr + done.stdout and "\r" not in done.stderr + done.stdout


def test_a_bar_is_silent_without_a_terminal(capsys):
    from dipddpm.progress import each, progress, steps

    assert list(each([1, 2, 3], 3, "counting")) == [1, 2, 3]
    with steps("first", "second") as begin_next:
        begin_next()
        begin_next()
    with progress(5, "moving") as bar:
        bar.update(5)
        time.sleep(0.01)
    assert capsys.readouterr() == ("", "")
