"""A bit that flips on a disk is named and never used, in every file that is kept; no name in a file leads elsewhere."""

import json
import random
import shutil
from pathlib import Path

import planted_gate
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipddpm.checkpoints import read_state, write_state
from dipddpm.cli import main
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.errors import InputError
from dipddpm.generate import DamagedImages, Diverged, GeneratedImages, generate
from dipddpm.measure.files import inside, is_partial, stale_partials, tidy, write_text
from dipddpm.measure.record import Run
from dipddpm.prior_sets import PriorSet, PriorSettings
from dipddpm.restore import Setting
from dipddpm.rng import image_keys
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report

SHIPPED = Path(open_denoiser.__code__.co_filename).parent
FLIPS = 60  # places of a file at which a bit is flipped, one after the other


def flips(file, seed=0):
    """Flips one bit of a file after the other, each time from the whole file; the file is whole again at the end."""
    whole, rng = file.read_bytes(), random.Random(seed)
    for at in sorted(rng.sample(range(len(whole)), min(FLIPS, len(whole)))):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        yield at
    file.write_bytes(whole)


def test_a_state_with_a_flipped_bit_is_refused(tmp_path):
    file, state = tmp_path / "a.state", {"weights": torch.randn(200), "done": 3}
    write_state(file, state, {"lr": 1})
    assert torch.equal(read_state(file, {"lr": 1})["weights"], state["weights"])
    for _ in flips(file):
        with pytest.raises(InputError, match=r"a\.state is damaged: delete it, and the run begins anew"):
            read_state(file, {"lr": 1})
    assert read_state(file, {"lr": 1})["done"] == 3


def test_priors_with_a_flipped_bit_are_refused(tmp_path):
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    made = PriorSet(torch.randn(2, 3, 4, 4), tuple(image_keys(images)), PriorSettings("bicubic", "inpaint"), 1.0)
    made.save(file := tmp_path / "p.safetensors")
    for _ in flips(file):
        with pytest.raises(InputError, match="prior store"):
            PriorSet.load(file)
    assert torch.equal(PriorSet.load(file).mu, made.mu)


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


def test_a_shard_with_a_flipped_bit_is_sampled_again(denoiser, tmp_path):
    setting = Setting(1, held=False)
    whole = generate(denoiser, 4, tmp_path, setting, batch=2, progress=False).tensor()
    file = tmp_path / "images-00000002-00000004.safetensors"
    for _ in flips(file):
        with pytest.warns(DamagedImages, match="are not what was written"):
            assert len(GeneratedImages(tmp_path)) == 2, "what comes before the damage can be used"
    written = file.read_bytes()
    file.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    with pytest.warns(DamagedImages, match=r"00000004\.safetensors: these images are not what was written"):
        again = generate(denoiser, 4, tmp_path, setting, batch=2, progress=False)
    assert torch.equal(again.tensor(), whole) and again.written == 2
    reader = GeneratedImages(tmp_path)
    file.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    with pytest.raises(InputError, match="is no longer what was written"):
        reader[3]


def test_samples_that_are_not_finite_are_no_images(denoiser, tmp_path, monkeypatch, capsys):
    plain = UNetDenoiser.eps

    def eps(self, x_t, t):
        noise = plain(self, x_t, t).clone()
        noise[1] = torch.nan
        return noise

    monkeypatch.setattr(UNetDenoiser, "eps", eps)
    with pytest.raises(Diverged, match=r"1 of 3 images diverged \(1\): nothing of their batch is kept"):
        generate(denoiser, 3, tmp_path / "a", Setting(2, held=False), progress=False)
    assert not list((tmp_path / "a").glob("images-*"))
    verb = ["generate", "--count", "2", "--nfe", "1", "--out", str(tmp_path / "b"), "--device", "cpu"]
    assert main(verb) == 7 and "images diverged (1)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["reference", "early"])
def test_a_checkpoint_that_is_not_what_its_record_says_is_refused(tmp_path, name):
    for ending in ("safetensors", "json"):
        shutil.copy(SHIPPED / f"{name}.{ending}", tmp_path)
    file = tmp_path / f"{name}.safetensors"
    written = bytearray(file.read_bytes())
    written[-1] ^= 1
    file.write_bytes(written)
    with pytest.raises(InputError, match=rf"{name}\.safetensors: sha256 is .*, its record {name}\.json says"):
        open_denoiser(f"unet:{file}")


# Names that come from files


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.sampled_from(["../x", "..", "a/../../x", "/etc/passwd", "C:x", "..\\x", "~", "a\0b"]))
def test_no_name_leads_out_of_its_folder(name):
    folder = Path("/some/where")
    try:
        path = inside(folder, name)
    except ValueError:
        return
    assert path.parent == folder and path.name == name and (folder / path).resolve().parent == folder.resolve()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", "C:x", "x" * 256, "a\nb", 7, None, ["x"]])
def test_what_is_no_name_of_a_file(name):
    with pytest.raises(ValueError, match="is no name of a file in somewhere"):
        inside(Path("somewhere"), name)


@pytest.mark.parametrize("name", ["../victim.txt", "../../victim.txt", "/victim.txt", "victim.txt"])
def test_a_list_of_figures_removes_nothing_elsewhere(tmp_path, name):
    folder = tmp_path / "out" / "figures"
    victims = [folder / "victim.txt", folder.parent / "victim.txt", tmp_path / "victim.txt"]
    folder.mkdir(parents=True)
    for victim in victims:
        victim.write_text("mine")
    listed = str(tmp_path / "victim.txt") if name.startswith("/") else name
    write_text(folder / "drawn-from.json", json.dumps({"old": {"key": "a", "files": [listed, "old.png"]}}))
    (folder / "old.png").write_text("of before")
    Figures(folder).tidy()
    assert all(victim.read_text() == "mine" for victim in victims) and not (folder / "old.png").exists()


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "[" * 5000, '{"old": {"key": "a", "files": 7}}', "\x00"])
def test_a_damaged_list_of_figures_is_none(tmp_path, text):
    (tmp_path / "drawn-from.json").write_text(text)
    Figures(tmp_path).tidy()


def test_a_manifest_of_a_report_names_no_file_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("dipddpm.session.figures._draw", lambda run, folder: [])
    run = planted_gate.run([planted_gate.cell(origin="")])
    first = write_report(run, Figures(tmp_path / "out" / "figures"))
    manifest = tmp_path / "out" / "made-from.json"
    text = json.loads(manifest.read_text())
    text["files"] = {"../../etc/passwd": "0"}
    manifest.write_text(json.dumps(text))
    assert write_report(run, Figures(tmp_path / "out" / "figures")).files == first.files


@pytest.mark.parametrize("profile", ["../../x", "/tmp/x", "a/b", "..\\x", "", "\n", "x" * 300])
def test_a_run_does_not_choose_where_a_baseline_is_written(tmp_path, monkeypatch, capsys, profile):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    made = planted_gate.run()
    made.settings["profile"] = profile
    made.save(Path("run.json"))
    before = set(tmp_path.rglob("*"))
    assert main(["baseline", "promote", "run.json", "--reason", "x"]) == 2
    assert "names no file: name one with --out" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before and Run.load(Path("run.json")).records


def test_what_killed_writes_left_is_tidied_and_nothing_else(tmp_path):
    import os
    import time

    (tmp_path / "fit").mkdir()
    old = tmp_path / "fit" / ".a1b2.x1y2z3w4.partial.json"
    young = tmp_path / "fit" / ".a1b2.x1y2z3w5.partial.json"
    others = [tmp_path / name for name in (".partial", "my.partial.json", ".notes.partial", ".git.partial.d")]
    for path in (old, young, *others):
        path.write_text("a part")
    for path in (old, *others):
        os.utime(path, (time.time() - 1e6,) * 2)
    assert is_partial(old) and [*stale_partials(tmp_path)] == [old]
    assert tidy(tmp_path) == 1 and not old.exists() and young.exists() and all(path.exists() for path in others)
