"""Values that no verb can use are refused by name before anything runs."""

import pytest

from dipddpm.cli import main


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
        (tmp_path / "file" / "x.safetensors", "its folder cannot be made"),
        (tmp_path, "cannot be written"),
    ):
        assert main([*verb.split(), "--out", str(out)]) == 2
        assert f"dipddpm: {out}: {why}" in capsys.readouterr().err


def test_a_folder_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path}: cannot be read" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    assert main(["compare", str(tmp_path / "run.json"), str(tmp_path)]) == 2
