"""A picture of one's own: read, degraded, fitted and restored; the verbs ``fit``, ``restore`` and ``data``."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from dipddpm.cli import main
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.metrics import metric
from dipddpm.pictures import AtSize, read_mask, read_picture

SMALL = ["--size", "24", "--architecture", "deep_decoder:8"]


@pytest.fixture
def cat(tmp_path, monkeypatch):
    """A photograph of 451 x 300 px in the current folder, and a mask of a line and a box for it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.chelsea()).save("cat.png")
    mask = np.zeros((300, 451), np.uint8)
    mask[:, 200:230] = mask[100:150, 150:300] = 255
    Image.fromarray(mask).save("mask.png")
    return tmp_path / "cat.png"


# ---- Reading ------------------------------------------------------------------------------------------------------


def test_a_picture_is_its_central_square_and_says_so(cat):
    picture = read_picture(cat, 128)
    assert picture.pixels.shape == (1, 3, 128, 128) and picture.shape == (451, 300)
    assert picture.said.endswith("451 x 300 px; its central square of 300 px, reduced to 128 px (--size has the limit)")
    whole = torch.from_numpy(data.chelsea()[:, 75:375].copy()).float().mean((0, 1))
    assert torch.allclose(picture.pixels.float().mean((0, 2, 3)), whole, atol=1.0)


def test_a_picture_is_never_enlarged(cat):
    assert read_picture(cat, 4096).size == 296  # the largest multiple of 8 up to 300


def test_a_picture_that_is_too_small_is_refused(tmp_path):
    Image.new("RGB", (40, 9)).save(tmp_path / "line.png")
    with pytest.raises(InputError, match=r"line\.png: 40 x 9 px at --size 128: 16 px are needed"):
        read_picture(tmp_path / "line.png", 128)


def test_a_mask_is_cut_as_the_picture_and_hides_every_pixel_that_it_touches(cat):
    seen = read_mask(cat.with_name("mask.png"), read_picture(cat, 32))
    assert seen.shape == (1, 1, 32, 32) and set(seen.unique().tolist()) == {0.0, 1.0}
    columns = torch.arange(32) * 300 / 32 + 75  # the left border of each column, in pixels of the file
    touched = (columns + 300 / 32 > 200) & (columns < 230)
    assert torch.equal(seen[0, 0, 0] == 0, touched)


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((10, 10)), "10 x 10 px, the picture has 451 x 300"),
        (np.zeros((300, 451)), "hides nothing"),
        (np.full((300, 451), 255), "hides all"),
    ],
)
def test_a_mask_that_cannot_be_meant(cat, pixels, why):
    Image.fromarray(pixels.astype(np.uint8)).save("other.png")
    with pytest.raises(InputError, match=why):
        read_mask(cat.with_name("other.png"), read_picture(cat, 32))


# ---- The denoiser at another size ---------------------------------------------------------------------------------


def test_the_denoiser_does_as_well_on_a_large_picture_as_on_its_tiles(cat):
    """It was trained at 32 px; a photograph of 96 px, which it has not seen, is denoised whole and in nine tiles."""
    x_0, denoiser, t = read_picture(cat, 96).x_0, open_denoiser("unet"), 100
    abar = denoiser.schedule.abar(t)
    x_t = abar**0.5 * x_0 + (1 - abar) ** 0.5 * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))

    def predicted(x_t, eps):
        return ((x_t - (1 - abar) ** 0.5 * eps) / abar**0.5).clamp(-1, 1)

    def psnr(eps):
        return float(metric("psnr")(predicted(x_t, eps), x_0))

    tiles = x_t.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
    tiled = denoiser.eps(tiles, t).reshape(1, 3, 3, 3, 32, 32).permute(0, 3, 1, 4, 2, 5).reshape(x_0.shape)
    whole = psnr(AtSize(denoiser, 96).eps(x_t, t))
    assert whole > psnr(tiled) - 0.05 and whole > float(metric("psnr")(x_t / abar**0.5, x_0)) + 4


def test_a_size_that_the_denoiser_does_not_take_is_one_line(cat):
    with pytest.raises(InputError, match=r"was made for 32 px and does not take 27 px .*: choose --size 32"):
        AtSize(open_denoiser("unet"), 27).eps(torch.zeros(1, 3, 27, 27), 5)


# ---- The verbs ----------------------------------------------------------------------------------------------------


def test_a_fit_comes_nearer_and_leaves_its_pictures(cat, capsys):
    assert main(["fit", "cat.png", *SMALL, "--iterations", "0,5,60", "--gif"]) == 0
    said, folder = capsys.readouterr().out, cat.with_name("cat-fit")
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert [row["iterations"] for row in rows] == [0, 5, 60] and rows[2]["psnr"] > rows[0]["psnr"] + 3
    assert rows[2]["loss"] < rows[0]["loss"] and rows[1]["seconds"] < rows[2]["seconds"]
    assert "the network sees: all of the picture" in said and "wrote cat-fit/film.gif" in said
    shown = Image.open(folder / "60-iterations.png")
    assert shown.size == (24, 24)
    film = Image.open(folder / "film.gif")
    assert film.n_frames > 10 and film.size == (240, 240)
    psnr = 20 * np.log10(
        255 / np.sqrt(np.square(np.float64(shown) - np.float64(Image.open(folder / "picture.png"))).mean())
    )
    assert psnr == pytest.approx(rows[2]["psnr"], abs=0.05)  # rounded to whole grey levels


def test_every_arm_is_scored_alone_and_as_a_start(cat, capsys):
    arms = ["--arms", "noise,biharmonic,pnp,dip", "--iterations", "40", "--nfe", "10"]
    assert main(["restore", "cat.png", *SMALL, "--mask", "mask.png", *arms, "--json"]) == 0
    rows = {row["arm"]: row for row in json.loads(capsys.readouterr().out)}
    priors = ("biharmonic", "pnp", "dip")
    assert list(rows) == ["from noise", *(f"{name}" for p in priors for name in (f"{p} alone", f"from {p}"))]
    assert [rows[name]["NFE"] for name in ("from noise", "biharmonic alone", "pnp alone", "from pnp")] == [10, 0, 8, 18]
    folder = cat.with_name("cat-restored")
    picture, seen, fill = (np.asarray(Image.open(folder / f"{n}.png")) for n in ("picture", "seen", "biharmonic-alone"))
    known = (seen == picture).all(-1)
    assert 0.5 < known.mean() < 0.95 and np.array_equal(fill[known], picture[known])
    assert rows["biharmonic alone"]["psnr"] > 15 and (folder / "contact-sheet.png").stat().st_size > 5000


def test_real_damage_has_no_truth_to_be_scored_against(cat, capsys):
    arms = ["--arms", "biharmonic", "--nfe", "5"]
    assert main(["restore", "cat.png", *SMALL, "--mask", "mask.png", "--observed", *arms]) == 0
    said = capsys.readouterr().out
    assert "psnr" not in said and "biharmonic alone" in said
    assert not cat.with_name("cat-restored").joinpath("picture.png").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["restore", "none.png"], "none.png: not a readable image"),
        (["restore", "cat.png", "--task", "denoise_25", "--mask", "mask.png"], "--mask is for --task inpaint, not"),
        (["restore", "cat.png", "--task", "reconstruction"], "nothing is to be restored"),
        (["restore", "cat.png", "--observed"], "--observed needs --mask"),
        (["restore", "cat.png", "--arms", "oracle"], "arm 'oracle' looks at the picture"),
        (["restore", "cat.png", "--arms", "shuffled"], "arm 'shuffled' needs other pictures"),
        (["restore", "cat.png", "--task", "denoise_25", "--arms", "biharmonic"], "makes nothing of this task"),
        (["restore", "cat.png", "--arms", "nope"], "unknown prior 'nope': choose from"),
        (["fit", "cat.png", "--task", "nope"], "unknown task 'nope': choose from"),
        (["fit", "cat.png", "--architecture", "nope"], "unknown DIP architecture 'nope'"),
        (["data", "nope"], "unknown data set 'nope'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_input_is_one_line(cat, capsys, options, why):
    small = SMALL[:2] if options[0] in ("fit", "restore") else []
    assert main([*options, *small]) == 2
    err = capsys.readouterr().err
    assert why in err and err.count("\n") == 1


def test_what_a_data_set_holds(capsys, tmp_path):
    assert main(["data", "photo-patches", "--json"]) == 0
    rows = {row["split"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["train"]["images"] == 276 + 328 + 357 and rows["test"]["photographs"] == 6
    assert main(["data"]) == 0
    assert "folder:PATH" in capsys.readouterr().out
