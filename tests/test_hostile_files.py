"""Whatever a file holds, it is read or refused in one line, in no time, and nothing is written elsewhere."""

import json
import os
import pickle
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import changed, with_its_hash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from planted_gate import run
from safetensors.torch import save_file

from dipddpm.data import open_dataset
from dipddpm.data.cifar10 import read_batch
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser, checkpoint
from dipddpm.errors import InputError
from dipddpm.extractors.embedded64 import Embedded64, Embedding
from dipddpm.extractors.embedded64 import checkpoint as embedded_checkpoint
from dipddpm.fitting.educated import Educated, Pretrained, _open
from dipddpm.fitting.educated import checkpoint as educated_checkpoint
from dipddpm.generate import FORMAT, GeneratedImages, _checksum
from dipddpm.measure.gate.baseline import load
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.record import MeasureError, Run
from dipddpm.measure.store import DamagedResult, Store
from dipddpm.prior_sets import PriorSet, PriorSettings
from dipddpm.schedule import Schedule
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import _manifest
from dipddpm.train import train
from dipddpm.training import TrainingSettings
from dipddpm.unet import UNet
from dipddpm.warm_start import WarmStart, open_warm_start
from dipddpm.warm_start import checkpoint as warm_checkpoint

SECONDS = 8.0  # of the processor that reading a file may take; a bomb takes minutes


def small_unet():
    torch.manual_seed(0)
    return UNet(size=8, channels=(8, 16), groups=4, attention_at=(4,))


def a_checkpoint(folder):
    model = small_unet()
    record = {"model": model.config, "T": 50, "injection": "none", "priors": None}
    (folder / "a.safetensors").write_bytes(checkpoint(model.state_dict(), record))
    return lambda: UNetDenoiser(str(folder / "a.safetensors"))


def a_run(folder):
    run().save(folder / "run.json")
    return lambda: Run.load(folder / "run.json")


def a_baseline(folder):
    promote(run(), "first", folder / "b.json")
    return lambda: load(folder / "b.json")


def a_population(folder):
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "config": {"size": 8, "seed": 0}}))
    for start in (0, 2):
        file = folder / f"images-{start:08d}-{start + 2:08d}.safetensors"
        facts = {"seconds": "0.5", "nfe": "5"}
        save_file({"images": images}, file, facts | {"sha256": _checksum(images, facts)})

    def read():
        there = GeneratedImages(folder)
        return there.tensor() if len(there) else None

    return read


def a_prior_set(folder):
    made = PriorSet(torch.zeros(2, 3, 8, 8), ("a", "b"), PriorSettings("bicubic", "super_resolution"), 1.0)
    made.save(folder / "p.safetensors")
    return lambda: PriorSet.load(folder / "p.safetensors")


def recorded(folder, data, record):
    (folder / "a.safetensors").write_bytes(data)
    (folder / "a.json").write_bytes(with_its_hash(json.dumps(record).encode(), data))
    return folder / "a.safetensors"


def a_warm_start(folder):
    network = WarmStart(8, (4, 8))
    path = recorded(folder, warm_checkpoint(network.state_dict(), network.config), {"training_seconds": 1, "size": 8})
    return lambda: open_warm_start(path)


def an_educated(folder):
    data = educated_checkpoint(Pretrained(8, 4).state_dict())
    path = recorded(folder, data, {"training_seconds": 1.5, "size": 8, "width": 4})

    def read():
        _open.cache_clear()
        return Educated(checkpoint=str(path)).training_seconds

    return read


def an_extractor(folder):
    path = recorded(folder, embedded_checkpoint(Embedding().state_dict()), {"top": 1})
    return lambda: Embedded64(feature_extractor_weights_path=path)


def a_training(folder):
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)

    def go_on(steps=2):
        torch.manual_seed(0)
        return train(
            images, images, folder / "t.safetensors", model=small_unet(), schedule=Schedule.linear(50),
            settings=TrainingSettings(2, batch=2), save_every=1,
        )  # fmt: skip

    go_on()
    for written in ("t.safetensors", "t.json"):
        (folder / written).unlink()
    return go_on


def a_batch(folder):
    pixels = np.zeros((2, 3072), np.uint8)
    (folder / "batch").write_bytes(pickle.dumps({"data": pixels, "labels": [1, 2], "batch_label": "x"}, protocol=2))
    return lambda: read_batch(folder / "batch")


def a_photograph(folder):
    place = folder / "photos"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    for kind in ("png", "jpg", "tif", "bmp", "webp", "ppm"):
        Image.fromarray(pixels).save(place / f"a.{kind}")
    return lambda: [open_dataset(f"folder:{place}", size=8)._read(file) for file in sorted(place.iterdir())]


def a_report(folder):
    (folder / "made-from.json").write_text(
        json.dumps({"made of": "x", "figures": ["a.png"], "files": {"a.md": "y"}, "terminal": "z"})
    )
    (folder / "drawn-from.json").write_text(json.dumps({"charts": {"key": "k", "files": ["a.png"]}}))
    return lambda: (_manifest(folder), Figures(folder)._drawn())


def a_pipeline(folder):
    torch.manual_seed(0)
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=[8, 16], norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"],
    )  # fmt: skip
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(folder)
    return lambda: open_denoiser(f"diffusers:{folder}")


def computed(of):
    return {"x": torch.arange(6) * of, "said": "a text", "nested": {"y": [1.5, torch.ones(2)]}}


def a_result(folder):
    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedResult)  # it says so, and computes it again
            found = Store(folder).measured(computed, {"of": 2}).value
        assert found["x"].tolist() == [0, 2, 4, 6, 8, 10] and found["said"] == "a text", "damage is never used"
        assert found["nested"]["y"][0] == 1.5 and found["nested"]["y"][1].tolist() == [1, 1]
        return found

    read()
    return read


KINDS = {
    kind.__name__.partition("_")[2]: kind
    for kind in (
        a_checkpoint, a_run, a_baseline, a_population, a_prior_set, a_warm_start, an_educated, an_extractor, a_training,
        a_batch, a_photograph, a_report, a_pipeline, a_result,
    )
}  # fmt: skip
SLOW = ("training", "extractor", "educated", "photograph", "warm_start", "pipeline")


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restored_to(folder, files):
    for path in folder.rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, data in files.items():
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def one_accident(read, folder, files, rng):
    """Change one file, and read: a value, or an error in one line."""
    path = rng.choice(list(files))
    data = changed(path.name, files[path], rng)
    path.write_bytes(data)
    record = path.with_suffix(".json")
    if path.suffix == ".safetensors" and record in files and rng.random() < 0.9:
        record.write_bytes(with_its_hash(files[record], data))
    started = time.process_time()
    try:
        read()
    except (InputError, MeasureError) as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    finally:
        restored_to(folder, files)
    assert time.process_time() - started < SECONDS


def fuzzed(kind, folder, examples):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    inside = folder / "inside"
    inside.mkdir()
    read = KINDS[kind](inside)
    assert read() is not None, "the file is read as it was written"
    restored_to(inside, {path: data for path, data in files_of(inside).items() if path.name != "t.json"})
    files = files_of(inside)
    before = Path.cwd()

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def accidents(rng):
        one_accident(read, inside, files, rng)

    os.chdir(elsewhere)
    try:
        accidents()
    finally:
        os.chdir(before)
    assert not any(elsewhere.iterdir()), "something was written elsewhere"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused(kind, tmp_path):
    fuzzed(kind, tmp_path, 3 if kind == "pipeline" else 6 if kind in SLOW else 40)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_damaged_files_of_each_kind_are_read_or_refused(kind, tmp_path):
    fuzzed(kind, tmp_path, 2000)
