"""Folders of photographs as people have them: turned, transparent, linked, with copies and odd names, in splits."""

import os

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

from dipddpm.data import SPLITS, open_dataset
from dipddpm.errors import InputError
from dipddpm.rng import image_keys
from dipddpm.train_extractor import labels


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def photographs(folder, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.fromarray(noise(i)).save(folder / f"{i:03}.png")


def opened(folder):
    return open_dataset(f"folder:{folder}", size=8)


def by_split(folder):
    dataset = opened(folder)
    return {split: [file.relative_to(folder).as_posix() for file in dataset.files(split)] for split in SPLITS}


def alone(tmp_path, name):
    """Where a file lies that is the only test image."""
    for split in SPLITS:
        (tmp_path / split).mkdir(exist_ok=True)
    return tmp_path / "test" / name


def read(tmp_path):
    (image,) = opened(tmp_path).load("test")
    return image.permute(1, 2, 0).numpy().astype(int)


# ---- as a viewer shows them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_photograph_stands_as_its_exif_data_say(tmp_path, orientation, suffix):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 160
    pixels[:4, :4] = 255  # no two orientations look alike
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = alone(tmp_path, f"a.{suffix}")
    Image.fromarray(pixels).save(file, exif=exif, quality=100)
    with Image.open(file) as stored:
        seen = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
    assert np.array_equal(read(tmp_path), seen)
    assert orientation == 1 or np.abs(seen - pixels).mean() > 20


def test_grey_of_16_bits_is_turned_too(tmp_path):
    wedge = np.tile(np.linspace(0, 65535, 8).round(), (8, 1)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # the left edge is seen at the top
    Image.fromarray(wedge).save(alone(tmp_path, "a.png"), exif=exif)
    assert read(tmp_path)[:, 0, 0].tolist() == np.linspace(0, 255, 8).round().tolist()


def test_damaged_exif_data_do_not_cost_the_photograph(tmp_path):
    Image.fromarray(noise(0)).save(alone(tmp_path, "a.png"), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(read(tmp_path), noise(0))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P with alphas", "P with a colour", "RGB with a colour"])
def test_what_is_transparent_is_white(tmp_path, mode):
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:, 4:] = 90  # the left half is black, and transparent
    alpha = Image.fromarray(np.where(np.arange(64).reshape(8, 8) % 8 < 4, 0, 255).astype(np.uint8))
    image, options = Image.fromarray(colours), {}
    if mode.startswith("P"):
        image = image.quantize(2)
        black = image.getpixel((0, 0))
        alphas = bytes(0 if i == black else 255 for i in range(2))
        options = {"transparency": alphas if mode != "P with a colour" else black}
    elif mode == "RGB with a colour":
        options = {"transparency": (0, 0, 0)}
    else:
        image = image.convert("L" if mode == "LA" else "RGB").convert(mode)
        image.putalpha(alpha)
    image.save(alone(tmp_path, "a.png"), **options)
    seen = read(tmp_path)
    assert (seen[:, :4] == 255).all() and (seen[:, 4:] == 90).all()


def test_half_transparent_is_half_white_and_opaque_is_as_it_was(tmp_path):
    rgba = np.concatenate([noise(1), np.full((8, 8, 1), 255, np.uint8)], axis=2)
    file = alone(tmp_path, "a.png")
    Image.fromarray(rgba).save(file)
    assert np.array_equal(read(tmp_path), noise(1))
    rgba[..., :3], rgba[..., 3] = 100, 51  # a fifth
    Image.fromarray(rgba).save(file)
    assert (read(tmp_path) == 224).all()  # 100 / 5 + 255 * 4 / 5


# ---- hidden files and copies --------------------------------------------------------------------------------------


def test_what_a_file_manager_hides_is_left_out(tmp_path):
    photographs(tmp_path, 30)
    before = by_split(tmp_path)
    for hidden in (".ipynb_checkpoints", "__MACOSX", ".Trash/deep", "@eaDir"):
        photographs(tmp_path / hidden, 3, first=100)
        (tmp_path / hidden / "._000.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "._000.png").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(60))
    assert by_split(tmp_path) == before and sum(map(len, before.values())) == 30
    photographs(tmp_path / ".photos", 30)
    assert by_split(tmp_path / ".photos") == before, "a folder that the user names is read, hidden or not"


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_equal_pixels_are_never_in_two_splits(tmp_path, capsys, suffix):
    photographs(tmp_path / "a", 60)
    alone = by_split(tmp_path)
    (tmp_path / "copies").mkdir()
    for file in (tmp_path / "a").iterdir():
        Image.open(file).save(tmp_path / "copies" / f"copy of {file.stem}.{suffix}")  # other bytes, the same pixels
    dataset, again = opened(tmp_path), opened(tmp_path)
    images = {split: dataset.load(split) for split in SPLITS}
    keys = {split: set(image_keys(images[split])) for split in SPLITS}
    assert not (keys["train"] & keys["test"] or keys["train"] & keys["validation"] or keys["validation"] & keys["test"])
    assert len(set.union(*keys.values())) == 60, "none is lost"
    assert set(alone["test"]) <= set(dataset.photographs("test")), "a copy in train takes no test image away"
    said = capsys.readouterr().err
    assert "train images left out, whose pixels equal those of test or validation images" in said
    for split in reversed(SPLITS):  # in any order, and by a second opening
        assert torch.equal(again.load(split), images[split])
        assert again.files(split) == dataset.files(split) and len(dataset.files(split)) == len(images[split])
        assert len(dataset.photographs(split)) == len(images[split])


def test_a_split_of_copies_alone_is_refused(tmp_path):
    for split in ("train", "test"):
        photographs(tmp_path / split, 5)
    with pytest.raises(InputError, match=r"no \w+ image is left, since all \d equal test"):
        opened(tmp_path).load("train")


# ---- links --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    for i, name in enumerate("ab"):
        photographs(tmp_path / "store" / name, 40, first=40 * i)
    (tmp_path / "linked").mkdir()
    return tmp_path / "store"


def test_linked_classes_are_read_as_torchvision_does(store, tmp_path):
    linked = tmp_path / "linked"
    for name in "ab":
        (linked / name).symlink_to(store / name)
    theirs = {os.path.relpath(path, linked) for path, _ in ImageFolder(linked).samples}
    assert {name for names in by_split(linked).values() for name in names} == theirs and len(theirs) == 80
    assert by_split(linked) == by_split(store), "a link changes no split"
    (linked / "a").unlink()
    (linked / "a").mkdir()
    for file in (store / "a").iterdir():
        (linked / "a" / file.name).symlink_to(file)
    assert by_split(linked) == by_split(store), "one class linked as a folder, one file by file"
    assert by_split(tmp_path / "linked") == by_split(store)
    (tmp_path / "whole").symlink_to(linked)
    assert by_split(tmp_path / "whole") == by_split(store)


def test_loops_of_links_end(store):
    before = by_split(store)
    (store / "a" / "up").symlink_to(store)
    (store / "a" / "self").symlink_to(store / "a" / "self")
    (store / "b" / "other").symlink_to(store / "a")
    (store / "0 first by name").symlink_to(store / "b")
    (store / "gone").symlink_to(store / "nowhere")
    assert by_split(store) == before


def test_splits_that_are_links_to_one_folder_do_not_share_it(store, tmp_path):
    root = tmp_path / "linked"
    (root / "train").symlink_to(store / "a")
    (root / "test").symlink_to(store / "b")
    assert {split: len(names) for split, names in by_split(root).items() if split != "validation"}["test"] == 40
    (root / "test").unlink()
    (root / "test").symlink_to(store / "a")
    with pytest.raises(InputError, match="holds no image"):
        by_split(root)


# ---- names --------------------------------------------------------------------------------------------------------


def test_names_that_are_no_utf_8(tmp_path):
    photographs(tmp_path / "class", 30)
    before = by_split(tmp_path)
    folder = os.fsencode(tmp_path / "class")
    for i in range(12):
        os.rename(folder + b"/%03d.png" % i, folder + b"/caf\xe9 %d.png" % i)  # noqa: PTH104
    os.rename(folder, os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH104
    dataset = opened(tmp_path)
    images = {split: dataset.load(split) for split in SPLITS}
    assert sum(map(len, images.values())) == sum(map(len, before.values())) == 30
    names = [name for split in SPLITS for name in dataset.photographs(split)]
    assert len(set(names)) == 30 and sum("caf\\xe9 " in name for name in names) == 12
    assert all(name.encode("utf-8") for name in names) and set(labels(dataset, "train")) == {"caf\\xe9"}
    inside = next(folder for folder in tmp_path.iterdir())
    assert open_dataset(f"folder:{inside}").label.encode("utf-8").endswith(b"/caf\\xe9")
    for file in inside.iterdir():
        file.write_text("no image")
    with pytest.raises(InputError, match=r"caf\\xe9/.*\d+\.png: not a readable image") as refused:
        for split in SPLITS:
            opened(tmp_path).load(split)
    assert str(refused.value).encode("utf-8")


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photographs(tmp_path / "photos", 30)
    assert open_dataset("folder:~/photos").files("train") == open_dataset(f"folder:{tmp_path}/photos").files("train")
    assert open_dataset("folder:~/photos").label == open_dataset(f"folder:{tmp_path}/photos").label
    assert open_dataset("cifar10", "~/data").root == tmp_path / "data"
    with pytest.raises(InputError, match=r"~no-such-user/photos: ~ stands for a home folder, and none is known; write"):
        open_dataset("folder:~no-such-user/photos")


# ---- splits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", "VALID"])
def test_splits_are_taken_as_they_stand(tmp_path, validation):
    folders = {"train": "Train", "validation": validation, "test": "TEST"}
    for i, name in enumerate(folders.values()):
        photographs(tmp_path / name / "class", 20, first=20 * i)
    found = by_split(tmp_path)
    for split, name in folders.items():
        assert len(found[split]) == 20 and all(file.startswith(f"{name}/class/") for file in found[split])
        assert labels(opened(tmp_path), split) == ["class"] * 20


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_train_and_val_alone_leave_nothing_to_test_on(tmp_path, validation):
    photographs(tmp_path / "train" / "c", 20)
    photographs(tmp_path / validation / "c", 20, first=20)
    found = by_split(tmp_path)
    assert (len(found["train"]), len(found["validation"]), found["test"]) == (20, 20, [])
    with pytest.raises(InputError, match=rf"for the test split .*holds train/ and {validation}/, no test/; make one"):
        opened(tmp_path).load("test")


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Test")])
def test_without_validation_a_part_of_train_is_for_it(tmp_path, names):
    for i, name in enumerate(names):
        photographs(tmp_path / name / "c", 60, first=60 * i)
    found = by_split(tmp_path)
    assert len(found["test"]) == 60 and all(file.startswith(names[1]) for file in found["test"])
    assert found["validation"] and len(found["train"]) + len(found["validation"]) == 60
    assert all(file.startswith(names[0]) for file in found["train"] + found["validation"])
    assert set(labels(opened(tmp_path), "validation")) == {"c"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train"], r"holds train/ and not which images are its other splits; name the sub-folders train, val and"),
        (["test", "cats"], r"holds test/ and not which .* or rename test if it is a class"),
        (["val", "test"], r"holds test/, val/ and not which"),
        (["train", "test", "val", "valid"], r"val and valid both are its validation split; rename one"),
    ],
)
def test_a_layout_that_is_not_known_is_refused(tmp_path, names, message):
    for i, name in enumerate(names):
        photographs(tmp_path / name, 5, first=5 * i)
    for split in SPLITS:
        with pytest.raises(InputError, match=message):
            opened(tmp_path).load(split)


def test_ordinary_folders_are_split_as_ever(tmp_path):
    """The files that were in each split before hidden files, links and copies were looked at."""
    photographs(tmp_path / "a", 20)
    photographs(tmp_path / "a-b", 20, first=20)
    files = sorted(f for f in tmp_path.rglob("*") if f.is_file())
    found = by_split(tmp_path)
    assert found["test"] == ["a/015.png", "a/017.png", "a/019.png"]
    assert found["validation"] == ["a/007.png", "a-b/022.png", "a-b/026.png", "a-b/033.png"]
    taken = {*found["test"], *found["validation"]}
    rest = [name for file in files if (name := file.relative_to(tmp_path).as_posix()) not in taken]
    assert found["train"] == rest


def test_a_small_folder_whose_hashes_leave_a_split_empty_says_what_to_do(tmp_path):
    for i in range(40):
        Image.fromarray(noise(i)).save(tmp_path / f"{i}.png")  # by chance no path of these forty is for testing
    with pytest.raises(InputError) as refused:
        opened(tmp_path).load("test")
    assert "it takes 10 % of a folder by the hash of each path, and got none of these 40; add images" in str(
        refused.value
    )
    assert len(opened(tmp_path).load("train")) == 36
