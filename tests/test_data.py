"""Data sets: real files in their real formats, splits that do not leak, and faults named one by one."""

import codecs
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

import dipddpm
from dipddpm.data import SPLITS, Dataset, in_turns, open_dataset, to_float, to_uint8
from dipddpm.data.cifar10 import FOLDER, TEST, TRAIN, read_batch
from dipddpm.data.cifar10 import MD5 as OFFICIAL_MD5
from dipddpm.data.photo_patches import FLAT, PHOTOGRAPHS, Photograph, _open
from dipddpm.errors import InputError
from dipddpm.rng import image_keys


def test_photo_patches_are_real_varied_and_split_by_photograph():
    splits = {split: open_dataset("photo-patches").load(split) for split in SPLITS}
    for images in splits.values():
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 32, 32) and len(images) >= 64
        assert images.float().mean(1).flatten(1).std(1).min() > FLAT
    names = [photograph.name for photographs in PHOTOGRAPHS.values() for photograph in photographs]
    assert len(names) == len(set(names)) == 11
    assert len(PHOTOGRAPHS["test"]) >= 6 and len(PHOTOGRAPHS["validation"]) >= 2
    keys = [set(image_keys(images)) for images in splits.values()]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])


def test_what_may_have_been_trained_on_is_never_tested_on():
    assert "astronaut" in {photograph.name for photograph in PHOTOGRAPHS["train"]}
    assert {"chelsea", "coffee"} <= {photograph.name for photograph in PHOTOGRAPHS["test"]}
    for record in (Path(dipddpm.__file__).parent).glob("*/*.json"):
        assert json.loads(record.read_text(encoding="utf-8"))["data"] != "photo-patches", record.name


def test_the_page_about_data_counts_the_crops_of_every_photograph():
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\|[^|]*\| (\w+) \| (\d+) \|", page, re.M))
    counted = Counter(name for split in SPLITS for name in open_dataset("photo-patches").photographs(split))
    assert said == {name: str(count) for name, count in counted.items()}


@pytest.mark.parametrize("size", [32, 64])
def test_photo_patches_name_the_photograph_of_every_crop(size):
    dataset = open_dataset("photo-patches", size=size)
    for split in SPLITS:
        names = dataset.photographs(split)
        assert len(names) == len(dataset.load(split))
        counts = Counter(names)
        assert list(counts) == [photograph.name for photograph in PHOTOGRAPHS[split]] and min(counts.values()) >= 30
    # A crop at scale 1 is a window of the photograph that it is said to be of.
    first = dict(reversed(list(zip(dataset.photographs("test"), dataset.load("test"), strict=True))))
    for photograph in PHOTOGRAPHS["test"]:
        whole = np.asarray(_open(photograph))
        tiles = [
            whole[y : y + size, x : x + size]
            for y in range(0, whole.shape[0] - size + 1, size)
            for x in range(0, whole.shape[1] - size + 1, size)
        ]
        crop = first[photograph.name].permute(1, 2, 0).numpy()
        assert any(np.array_equal(crop, tile) for tile in tiles), photograph.name


@pytest.mark.parametrize("size", [8, 64, 96, 128, 256])
def test_photo_patches_of_a_size_that_only_some_scales_hold(size):
    for split in SPLITS:
        images = open_dataset("photo-patches", size=size).load(split)
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, size, size) and len(images)


def test_photo_patches_larger_than_the_photographs():
    with pytest.raises(InputError, match=r"test photographs are too small for images of 640 px; use --dataset folder:"):
        open_dataset("photo-patches", size=640).load("test")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Photographs are looked for in a package of the test, which has one, cut to a quarter."""
    package = tmp_path / "pictures"
    package.mkdir()
    (package / "__init__.py").touch()
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as coffee:
        coffee.reduce(2).save(package / "coffee.png")
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.mark.parametrize(
    ("module", "path", "message"),
    [
        ("pictures", "coffee.png", r"coffee\.png must be 600 x 400 pixels, it is 300 x 200; install it again: pip"),
        ("pictures", "tea.png", r"some-package is installed without .*tea\.png; install it again: pip"),
        ("pictures", "__init__.py", r"__init__\.py is not a readable image .*; install it again: pip"),
        ("no_such_package", "coffee.png", r"coffee comes with some-package, which is not installed; install it again"),
    ],
)
def test_a_photograph_that_is_missing_or_reduced_is_one_clear_error(installed, monkeypatch, module, path, message):
    planted = Photograph("some-package", module, path, (600, 400), "the test's")
    monkeypatch.setitem(PHOTOGRAPHS, "test", (*PHOTOGRAPHS["test"], planted))
    with pytest.raises(InputError, match=message):
        open_dataset("photo-patches").load("test")


def test_photographs_are_opened_once_and_their_packages_are_not_imported(monkeypatch):
    before = open_dataset("photo-patches").load("test")
    monkeypatch.setattr(Image, "open", None)  # called, it would fail
    assert torch.equal(open_dataset("photo-patches").load("test"), before)
    code = (
        "import sys; from dipddpm.data import open_dataset; open_dataset('photo-patches').load('test'); "
        "assert not {'skimage', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_larger_sample_extends_a_smaller_one():
    dataset = open_dataset("photo-patches")
    assert torch.equal(dataset.sample("test", 20)[:8], dataset.sample("test", 8))
    assert dataset.sample_photographs("test", 20)[:8] == dataset.sample_photographs("test", 8)


@pytest.mark.parametrize("size", [32, 64])
def test_photographs_take_turns_in_a_sample(size):
    dataset = open_dataset("photo-patches", size=size)
    for split in SPLITS:
        photographs = len(PHOTOGRAPHS[split])
        for count in (photographs, 12, 4 * photographs - 1):
            named = Counter(dataset.sample_photographs(split, count))
            assert sum(named.values()) == count and len(named) == photographs
            assert max(named.values()) - min(named.values()) <= 1, named
        whole = dataset.sample_photographs(split, 100_000, or_fewer=True)
        assert Counter(whole) == Counter(dataset.photographs(split)), "none is lost where a photograph has fewer crops"


def test_the_photographs_of_a_sample_are_those_of_its_images():
    dataset = open_dataset("photo-patches")
    known = dict(zip(image_keys(dataset.load("test")), dataset.photographs("test"), strict=True))
    sampled = image_keys(dataset.sample("test", 40))
    assert [known[key] for key in sampled] == dataset.sample_photographs("test", 40)


def shuffled(n):
    """The order of a sample as it was before photographs took turns."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


def test_where_every_image_is_a_photograph_a_sample_is_the_shuffle(tmp_path, cifar_root):
    for i in range(40):
        photograph(
            tmp_path / "train" / f"{i}.png", i % 30
        )  # ten files are copies of others: each is its own all the same
    photograph(tmp_path / "test" / "a.png", 99)
    folder, cifar = open_dataset(f"folder:{tmp_path}"), open_dataset("cifar10", cifar_root)
    for dataset in (folder, cifar):
        images = dataset.load("train")
        assert torch.equal(dataset.sample("train", len(images)), images[shuffled(len(images))])
        assert len(set(dataset.photographs("train"))) == len(images)
    names = folder.photographs("train")
    assert all(name.startswith("train/") and (tmp_path / name).is_file() for name in names)
    assert folder.sample_photographs("train", 5) == [names[i] for i in shuffled(len(names))[:5]]


class Pairs(Dataset):
    """A data set as a plug-in would add it, which says nothing of photographs. Two of its images are equal."""

    name, licence, how_to_get = "pairs", "the test's", "made here"

    def load(self, split):
        images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2).contiguous()
        return images[[0, 1, 1, 2, 3, 4]]


def test_images_are_named_by_their_content_where_a_data_set_says_nothing():
    dataset = Pairs()
    names = dataset.photographs("train")
    assert names == image_keys(dataset.load("train")) and names[1] == names[2] and len(set(names)) == 5
    assert len(set(dataset.sample_photographs("train", 5))) == 5, "of two equal images, one comes after all others"


def test_turns_go_on_without_the_photographs_that_have_no_more():
    assert in_turns([5, 0, 1, 2, 3, 4], "aabbbb") == [5, 0, 1, 2, 3, 4]
    assert in_turns([5, 3, 4, 2, 1, 0], "aabbbb") == [5, 1, 3, 0, 4, 2]
    assert in_turns([2, 0, 1], "abc") == [2, 0, 1] and in_turns([], "") == []


def test_more_images_than_there_are():
    with pytest.raises(InputError, match=r"photo-patches.*100000 test images asked for"):
        open_dataset("photo-patches").sample("test", 100_000)


def test_range_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = to_float(pixels)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), pixels)
    assert torch.equal(to_uint8(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))


def photograph(path, seed, size=(40, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_folder_flat_and_by_class_splits_by_path(tmp_path):
    for i in range(60):
        photograph(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    dataset = open_dataset(f"folder:{tmp_path}")
    before = {split: set(image_keys(dataset.load(split))) for split in SPLITS}
    assert sum(len(keys) for keys in before.values()) == 60
    assert len(before["train"]) > 35 and before["test"] and before["validation"]
    photograph(tmp_path / "a" / "new.png", 999)
    after = {split: set(image_keys(open_dataset(f"folder:{tmp_path}").load(split))) for split in SPLITS}
    assert all(before[split] <= after[split] for split in SPLITS), "adding a file moved another one"


def test_folder_with_train_and_test_keeps_them_apart(tmp_path):
    for i in range(40):
        photograph(tmp_path / "train" / f"{i}.png", i)
    for i in range(5):
        photograph(tmp_path / "test" / f"{i}.png", 100 + i)
    dataset = open_dataset(f"folder:{tmp_path}")
    assert len(dataset.load("test")) == 5
    assert len(dataset.load("train")) + len(dataset.load("validation")) == 40


def test_folder_label_tells_nothing_of_the_machine(tmp_path):
    (tmp_path / "holiday" / "test").mkdir(parents=True)
    label = open_dataset(f"folder:{tmp_path}/holiday/test").label
    assert label == "folder:holiday/test"


def test_folder_faults_name_the_file(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(f"folder:{tmp_path}/none").load("test")
    with pytest.raises(InputError, match=r"holds no image.*\.jpg"):
        open_dataset(f"folder:{tmp_path}").load("test")
    (tmp_path / "notes.jpg").write_text("not a photograph")
    with pytest.raises(InputError, match=r"notes\.jpg: not a readable image"):
        for split in SPLITS:
            open_dataset(f"folder:{tmp_path}").load(split)
    photograph(tmp_path / "cut.png", 0)
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    (tmp_path / "notes.jpg").unlink()
    with pytest.raises(InputError, match=r"cut\.png: not a readable image"):
        for split in SPLITS:
            open_dataset(f"folder:{tmp_path}").load(split)


def grey(values):
    """A wedge of 32 px as the bytes of a 16-bit picture have it."""
    return np.tile(np.linspace(0, 65535, 32).round(), (32, 1)).astype(values)


@pytest.mark.parametrize(("suffix", "values"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("pgm", "<u2")])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path, suffix, values):
    file = tmp_path / "train" / f"wedge.{suffix}"
    file.parent.mkdir()
    (tmp_path / "test").mkdir()
    if suffix == "pgm":  # older versions of Pillow read it and do not write it
        file.write_bytes(b"P5 32 32 65535\n" + grey(">u2").tobytes())
    else:
        Image.fromarray(grey(values)).save(file)
    (tmp_path / "validation").mkdir()
    (image,) = open_dataset(f"folder:{tmp_path}").load("train")
    assert image.tolist() == [np.tile(np.linspace(0, 255, 32).round(), (32, 1)).tolist()] * 3


@pytest.mark.parametrize(("values", "mode"), [("int32", "I"), ("float32", "F")])
def test_pictures_without_a_white_point_are_refused(tmp_path, values, mode):
    for split in ("train", "test", "validation"):
        (tmp_path / split).mkdir()
    Image.fromarray(grey(values)).save(tmp_path / "test" / "depth.tif")
    with pytest.raises(InputError, match=rf"depth\.tif: .* in mode {mode} \(32 bits\); save it as 8-bit"):
        open_dataset(f"folder:{tmp_path}").load("test")


def test_a_picture_that_is_too_large_is_named(tmp_path, monkeypatch):
    for split in ("train", "test", "validation"):
        (tmp_path / split).mkdir()
    photograph(tmp_path / "test" / "huge.png", 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of 2,000: Pillow refuses twice the limit
    with pytest.raises(InputError, match=r"huge\.png: not a readable image.*pixels"):
        open_dataset(f"folder:{tmp_path}").load("test")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("imagenet", r"unknown data set 'imagenet': choose from cifar10, folder:PATH, photo-patches"),
        ("folder", r"needs a location: write folder:PATH"),
        ("photo-patches:x", r"takes no location, got 'x'"),
    ],
)
def test_wrong_names(spec, message):
    with pytest.raises(InputError, match=message):
        open_dataset(spec)


def as_python_2_wrote_it(content):
    """The official files: protocol 2, numpy by the module names of its first version, byte strings without encode."""
    text = pickle.dumps(content, protocol=2)
    return text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """A data set in CIFAR-10's own format, with md5 sums to match: 20 images a batch."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    md5 = {}

    def write(name, content):
        (folder / name).write_bytes(as_python_2_wrote_it(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()

    for name in (*TRAIN, *TEST):
        pixels, labels = rng.integers(0, 256, (20, 3072), dtype=np.uint8), list(range(10)) * 2
        names = [f"photograph_{i:06}.png" for i in range(20)]
        write(name, {"batch_label": f"batch {name}", "labels": labels, "data": pixels, "filenames": names})
    write("batches.meta", {"num_cases_per_batch": 20, "label_names": ["airplane"] * 10, "num_vis": 3072})
    monkeypatch.setattr("dipddpm.data.cifar10.MD5", md5)
    monkeypatch.setattr("dipddpm.data.cifar10.HELD_OUT", 10)
    return tmp_path


def test_cifar10_in_its_own_format(cifar_root):
    dataset = open_dataset("cifar10", cifar_root)
    sizes = {split: tuple(dataset.load(split).shape) for split in SPLITS}
    assert sizes == {"train": (90, 3, 32, 32), "validation": (10, 3, 32, 32), "test": (20, 3, 32, 32)}
    raw = pickle.loads((cifar_root / FOLDER / "test_batch").read_bytes())["data"]
    assert np.array_equal(dataset.load("test").reshape(20, -1).numpy(), raw)  # channels and rows in their places


def test_cifar10_is_what_torchvision_reads(cifar_root, monkeypatch):
    md5 = hashlib.md5((cifar_root / FOLDER / "test_batch").read_bytes()).hexdigest()
    listed = {name: md5 for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list]}
    assert listed | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]} == dict(OFFICIAL_MD5)
    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5]])
    meta = hashlib.md5((cifar_root / FOLDER / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    theirs = torch.from_numpy(CIFAR10(str(cifar_root), train=False).data).permute(0, 3, 1, 2)
    assert torch.equal(open_dataset("cifar10", cifar_root).load("test"), theirs)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", ["data", b"data"])
def test_a_batch_pickled_by_another_python(tmp_path, protocol, key):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3072), dtype=np.uint8)
    (tmp_path / "batch").write_bytes(pickle.dumps({key: pixels}, protocol=protocol))
    assert np.array_equal(read_batch(tmp_path / "batch").reshape(4, -1).numpy(), pixels)


def test_a_batch_of_python_2_byte_strings(tmp_path):
    """Python 2 wrote the pixels as a byte string; in Python 3, bytes of protocol 2 look otherwise."""
    pixels = np.arange(3072, dtype=np.uint8).reshape(1, 3072)
    text = (
        b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
        b"U\x01b\x87R(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00" + pixels.tobytes() + b"tbs."
    )
    (tmp_path / "batch").write_bytes(text)
    assert np.array_equal(read_batch(tmp_path / "batch").reshape(1, -1).numpy(), pixels)


class Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_something_is_refused_and_not_run(tmp_path, protocol):
    proof = tmp_path / "executed"
    for content in (
        Runs(os.system, f"touch {proof}"),
        {"data": Runs(Path.touch, proof)},
        {"data": Runs(eval, f"open({str(proof)!r}, 'w')")},
        Runs(codecs.encode, "text", "rot13"),
        Runs(getattr, np.ndarray, "tofile"),
    ):
        (tmp_path / "batch").write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(InputError, match=r"batch is no batch of CIFAR-10 \((it asks for|bytes in 'rot13')"):
            read_batch(tmp_path / "batch")
        assert not proof.exists()


@pytest.mark.parametrize("arguments", [("\0" * 6000, False, True), ("u1", "latin1"), (5,)])
def test_a_type_of_numbers_that_numpy_does_not_write(tmp_path, arguments):
    class Kind:
        def __reduce__(self):
            return np.dtype, arguments

    (tmp_path / "batch").write_bytes(pickle.dumps({"data": Kind()}, protocol=2))
    with pytest.raises(
        InputError, match=r"is no batch of CIFAR-10 \(a type of numbers that numpy does not write\)"
    ) as said:
        read_batch(tmp_path / "batch")
    assert len(str(said.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((4, 3071), np.uint8)}, r"uint8 of shape \(N, 3072\), it is uint8 of shape \(4, 3071\)"),
        ({"data": np.zeros((4, 3072), np.float32)}, r"it is float32 of shape \(4, 3072\)"),
        ({"data": np.zeros((4, 3, 32, 32), np.uint8)}, r"it is uint8 of shape \(4, 3, 32, 32\)"),
        ({"data": [1, 2]}, "it is list"),
        ({"labels": [1, 2]}, "it is NoneType"),
        ([1, 2], "it is NoneType"),
    ],
)
def test_a_batch_of_something_else(tmp_path, content, message):
    (tmp_path / "batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=message):
        read_batch(tmp_path / "batch")


def test_a_batch_that_is_no_pickle(tmp_path):
    for text in (b"", b"damaged", pickle.dumps({"data": np.zeros((4, 3072), np.uint8)}, protocol=2)[:-500]):
        (tmp_path / "batch").write_bytes(text)
        with pytest.raises(InputError, match="batch is no batch of CIFAR-10"):
            read_batch(tmp_path / "batch")


def test_cifar10_names_every_missing_and_damaged_file(cifar_root):
    folder = cifar_root / FOLDER
    (folder / "data_batch_2").unlink()
    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"data_batch_2 is missing; test_batch is damaged"):
        open_dataset("cifar10", cifar_root).load("test")


def test_cifar10_without_a_network_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(InputError, match=r"cifar10: not in .* and the download failed .*--data-root"):
        open_dataset("cifar10", tmp_path).load("test")
