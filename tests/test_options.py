"""Values that no verb can use are refused by name before anything runs."""

import argparse
from pathlib import Path

import pytest

import dipddpm.session
from dipddpm.cli import main
from dipddpm.cli.command_line import parser


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("train --out x.safetensors --steps -3", "argument --steps: write a whole number from 1, not '-3'"),
        ("train --out x.safetensors --batch 0", "argument --batch: write a whole number from 1, not '0'"),
        ("train --out x.safetensors --lr nan", "argument --lr: write a number above 0, not 'nan'"),
        ("train --out x.safetensors --lr much", "argument --lr: write a number above 0, not 'much'"),
        ("train --out x.safetensors --ema 1", "argument --ema: write a number from 0 that is below 1, not '1'"),
        ("generate --out x --count 1.5", "argument --count: write a whole number from 1, not '1.5'"),
    ],
)
def test_numbers(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(options.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "train-extractor --dataset folder:photos"])
def test_a_file_that_cannot_be_written_is_said_at_once(verb, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out, why in (
        (tmp_path / "file" / "x.safetensors", f"{tmp_path / 'file'}: cannot be written to (File exists): choose"),
        (tmp_path, f"{tmp_path}: cannot be written: choose another --out"),
        (Path("/dev/full"), "/dev/full: cannot be written: choose another --out"),
    ):
        assert main([*verb.split(), "--out", str(out)]) == 2
        assert f"dipddpm: {why}" in capsys.readouterr().err


def test_a_folder_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path}: cannot be read" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    assert main(["compare", str(tmp_path / "run.json"), str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("options", "name", "place"),
    [
        ("train --out=~/x.safetensors", "out", "x.safetensors"),
        ("train --out x --data-root=~/data", "data_root", "data"),
        ("train --out x --priors=~/p.safetensors", "priors", "p.safetensors"),
        ("train --out x --cache=~/cache", "cache", "cache"),
        ("generate --count 1 --out=~/g", "out", "g"),
        ("score ~/g --reference cifar10", "folder", "g"),
        ("report ~/run.json --out=~/reports", "out", "reports"),
        ("compare ~/run.json ~/b.json", "baseline", "b.json"),
        ("baseline promote ~/run.json --out=~/b.json", "run", "run.json"),
        ("calibrate ~/b.json", "baseline", "b.json"),
    ],
)
def test_the_home_folder_in_every_path(options, name, place, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(parser().parse_args(options.split()), name) == tmp_path / place


def test_no_option_is_a_path_that_is_not_expanded():
    def options(p):
        for action in p._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    yield from options(verb)
            else:
                yield action

    assert not [action.dest for action in options(parser()) if action.type is Path]
    package = Path(dipddpm.session.__file__).parent
    assert not [file.name for file in package.glob("*.py") if "type=Path" in file.read_text(encoding="utf-8")]


def test_the_home_folder_of_nobody(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["train", "--out=~no-such-user/x"])
    assert "~no-such-user/x: ~ stands for a home folder, and none is known; write ./~no" in capsys.readouterr().err
