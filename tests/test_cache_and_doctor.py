"""What a store holds is listed, verified and pruned by use; nothing that it did not write is touched."""

import os
import time
from pathlib import Path

import pytest
import torch

from dipddpm.cli import main
from dipddpm.cli.cache import readable
from dipddpm.cli.command_line import parser
from dipddpm.measure.store import Store


def fit(a: int) -> dict:
    return {"x": torch.full((1000,), float(a))}


def score(a: int) -> dict:
    return {"psnr": 20.0 + a}


@pytest.fixture
def cache(tmp_path):
    """A store of five results; fit 0 was used longest ago, and fit 2 again just now."""
    store = Store(tmp_path / "cache")
    files = {}
    for a in range(4):
        files[a] = tmp_path / "cache" / "fit" / f"{store.measured(fit, {'a': a}).key}.json"
        os.utime(files[a], times=(10**9 + a,) * 2)
    store.measured(score, {"a": 1})
    assert not store.measured(fit, {"a": 2}).fresh
    return tmp_path / "cache", files


def mine(cache):
    """Files that a store did not write, some of them looking much like those that it does."""
    (cache / "photos").mkdir()
    made = {
        cache / "fit" / "notes.json": "{}",
        cache / "fit" / ("0" * 20 + ".json"): "{}",
        cache / "fit" / "thesis.safetensors": "mine",
        cache / "photos" / "a.png": "mine",
        cache / "run.json": "mine",
        cache / ".partial": "mine",
    }
    for path, text in made.items():
        path.write_text(text)
        os.utime(path, (1, 1))
    return made


def test_size(cache, capsys):
    folder, _ = cache
    mine(folder)
    assert main(["cache", "size", "--cache", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "fit: 4 results, " in out and "score: 1 results, " in out and "all: 5 results, " in out


def test_prune_takes_what_was_used_longest_ago_and_nothing_else(cache, capsys):
    folder, files = cache
    others = mine(folder)
    orphan = folder / "fit" / ("1" * 20 + ".safetensors")
    killed = folder / "fit" / ".a1.x1y2z3w4.partial.json"
    for path in (orphan, killed):
        path.write_text("a part")
        os.utime(path, (1, 1))
    both = sum(f.stat().st_size for a in (2, 3) for f in (files[a], files[a].with_suffix(".safetensors")))
    scores = sum(f.stat().st_size for f in (folder / "score").iterdir())
    assert main(["cache", "prune", "--keep", str(both + scores), "--cache", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("removed 2 results (")
    assert [files[a].exists() for a in range(4)] == [False, False, True, True]
    assert not files[0].with_suffix(".safetensors").exists() and not orphan.exists() and not killed.exists()
    assert all(path.read_text() == text for path, text in others.items())
    store = Store(folder)
    assert not store.measured(fit, {"a": 2}).fresh and store.measured(fit, {"a": 0}).fresh
    assert main(["cache", "prune", "--keep", "0", "--cache", str(folder)]) == 0
    assert all(path.read_text() == text for path, text in others.items()) and not files[2].exists()


def test_verify_names_what_is_damaged(cache, capsys):
    folder, files = cache
    assert main(["cache", "verify", "--cache", str(folder)]) == 0
    assert "5 results are what was written, 0 are not" in capsys.readouterr().out
    arrays = files[1].with_suffix(".safetensors")
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
    files[2].write_text(files[2].read_text().replace('"seconds": ', '"seconds": -'))
    files[3].with_suffix(".safetensors").unlink()
    assert main(["cache", "verify", "--cache", str(folder)]) == 2
    out = capsys.readouterr().out
    for a, why in ((1, "is not what was written"), (2, "is not what was written"), (3, "its arrays are missing")):
        assert f"fit/{files[a].stem}: {why}" in out
    assert "2 results are what was written, 3 are not (they are computed again when used)" in out


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["cache", "size", "--cache", str(tmp_path / "no")]) == 2
    assert "no such folder: name the store with --cache" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "found"), [("0", 0), ("500MB", 500_000_000), ("1.5 kb", 1500), ("20GB", 20 * 10**9)])
def test_bytes(text, found):
    assert parser().parse_args(["cache", "prune", "--keep", text]).keep == found


@pytest.mark.parametrize("text", ["", "-1", "many", "1e3", "5 apples", "nan"])
def test_no_bytes(text, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["cache", "prune", f"--keep={text}"])
    assert "write a number of bytes such as 500MB or 20GB" in capsys.readouterr().err


def test_bytes_as_people_read_them():
    assert [readable(n) for n in (0, 999, 1500, 2e9, 5e15)] == ["0 bytes", "999 bytes", "1.5 kB", "2.0 GB", "5000.0 TB"]


def test_the_doctor(cache, capsys, monkeypatch):
    folder, files = cache
    monkeypatch.setattr("dipddpm.cli.doctor.ROOM", 1.0)
    verb = ["doctor", "--cache", str(folder), "--device", "cpu", "--data-root", str(folder / "none")]
    assert main(verb) == 0
    out = capsys.readouterr().out
    for line in (
        "ok  machine: cpu; ",
        "ok  denoiser unet:reference: opens, and is what its record says",
        "ok  extractor embedded64: opens",
        f"missing  data cifar10: not in {folder / 'none' / 'cifar-10-batches-py'}: downloaded by torchvision on",
        "ok  data photo-patches: ",
        "ok  store: 5 results, each what was written",
    ):
        assert line in out, out
    assert "Traceback" not in out

    files[0].write_text("{}".join(files[0].read_text().rsplit("}", 1)))
    (folder / "fit" / ".a1.x1y2z3w4.partial.json").write_text("a part")
    os.utime(folder / "fit" / ".a1.x1y2z3w4.partial.json", (time.time() - 1e6,) * 2)
    monkeypatch.setattr("dipddpm.cli.doctor.ROOM", 1e18)
    assert main(verb) == 2
    out = capsys.readouterr().out
    assert f"bad  store: 1 of 5 results are damaged, and are computed again when used: fit/{files[0].stem}" in out
    assert "bad  memory: " in out and "are needed: close other programs" in out and "`dipddpm cache prune` makes" in out


def test_a_doctor_for_a_folder_that_cannot_be_written(tmp_path, capsys):
    Path(tmp_path / "file").write_text("mine")
    assert main(["doctor", "--cache", str(tmp_path / "file" / "below"), "--device", "cpu"]) == 2
    assert "bad  disk: " in capsys.readouterr().out
