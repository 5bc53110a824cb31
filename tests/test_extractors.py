"""Feature extractors: the embedded one ranks what it must, Inception loads nothing whose hash was not checked."""

import hashlib
import io
import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch_fidelity
from PIL import Image
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase, FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torchvision.transforms.functional import gaussian_blur

import dipddpm
from dipddpm.checkpoints import write_checkpoint, write_state
from dipddpm.cli import main
from dipddpm.data import open_dataset
from dipddpm.errors import InputError
from dipddpm.extractors import extractors, inception, open_extractor
from dipddpm.extractors.embedded64 import SHIPPED, Embedding, checkpoint
from dipddpm.extractors.inception import FID_SHA256, FILE_NAME, Inception
from dipddpm.population import title
from dipddpm.population.density_coverage import Coverage
from dipddpm.population.fd import Fd
from dipddpm.population.floor import disjoint
from dipddpm.population.kid import Kid
from dipddpm.population.precision_recall import Precision, Recall
from dipddpm.train_extractor import augment, labels, train_extractor

FOLDER = Path(dipddpm.__file__).parents[2] / "shared" / "cifar10-jpeg"


@pytest.fixture(scope="module")
def embedded():
    return open_extractor("embedded64")


@pytest.fixture(scope="module")
def photographs():
    """Crops of all four photographs, two disjoint sets of 240."""
    dataset = open_dataset("photo-patches")
    return disjoint(torch.cat([dataset.load(split) for split in ("train", "validation", "test")]), 240, 240)


# ---- the family ---------------------------------------------------------------------------------------------------


def test_extractors_are_torch_fidelity_s_and_registered_there():
    assert list(extractors()) == ["efficientnet-lite0", "embedded64", "inception-v3"]
    for name, kind in extractors().items():
        assert issubclass(kind, FeatureExtractorBase) and FEATURE_EXTRACTORS_REGISTRY[name] is kind
    with pytest.raises(InputError, match="unknown feature extractor 'vgg': choose from efficientnet-lite0, embedded64"):
        open_extractor("vgg")


@pytest.mark.numerics
def test_features_are_the_same_in_any_batch(embedded, photographs):
    images = photographs[0][:10]
    features = embedded.features(images)
    assert features.shape == (10, 64) and features.dtype == torch.float32 and not features.requires_grad
    assert torch.allclose(features, embedded.features(images, batch=3), atol=1e-5)
    larger = embedded.features(images.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.nn.functional.cosine_similarity(larger, features).min() > 0.95


def test_other_images_than_uint8_are_refused(embedded):
    for bad in (torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.zeros(0, 3, 32, 32)):
        with pytest.raises(InputError, match=r"embedded64: takes \(N, 3, H, W\) uint8 images, got"):
            embedded.features(bad)


# ---- embedded64 ---------------------------------------------------------------------------------------------------


def test_the_shipped_network_is_small_and_what_its_record_says(embedded):
    record = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    assert SHIPPED.stat().st_size <= 2_000_000 and embedded.width <= 64
    assert record["sha256"] == embedded.fingerprint == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert {"command", "data", "seed", "updates", "curve", "torch"} <= record.keys()
    assert record["images"] >= 20_000 and len(record["classes"]) == 10 and record["held_out_accuracy"] > 0.6


@pytest.mark.numerics
def test_torch_fidelity_calculates_with_it(embedded, photographs):
    class Images(Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return self.images[i]

    a, b = photographs[0], (photographs[1].float() * 0.8).to(torch.uint8)
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(a), input2=Images(b), feature_extractor="embedded64", fid=True, kid=True, prc=True,
        kid_subsets=1, kid_subset_size=len(a), cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    x, y = embedded.features(a), embedded.features(b)
    assert Fd()(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert Kid()(x, y) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)
    assert Precision()(x, y) == pytest.approx(theirs["precision"], abs=0.01)
    assert Recall()(x, y) == pytest.approx(theirs["recall"], abs=0.01)


def degraded(images, how):
    """The images as they are, then worse and worse."""
    yield images
    if how == "blur":
        for sigma in (0.6, 1.0, 2.0):
            yield gaussian_blur(images, [13, 13], [sigma, sigma])
    elif how == "noise":
        eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        for sigma in (10, 20, 40):
            yield (images + sigma * eps).round().clamp(0, 255).to(torch.uint8)
    else:  # fewer and fewer different images, just as many in all
        for different in (len(images) // 8, len(images) // 16, len(images) // 32):
            yield images[torch.arange(len(images)) % different]


@pytest.mark.parametrize("how", ["blur", "noise", "mode collapse"])
def test_it_ranks_what_grows_worse(embedded, photographs, how):
    reference = embedded.features(photographs[1])
    features = [embedded.features(images) for images in degraded(photographs[0], how)]
    for metric in (Fd(), Kid()) if how != "mode collapse" else (Fd(),):
        values = [metric(x, reference) for x in features]
        assert values == sorted(values), (metric.name, values)
        assert values[-1] > 3 * abs(values[0])
    if how == "mode collapse":
        covered = [Coverage()(x, reference) for x in features]
        assert covered == sorted(covered, reverse=True) and covered[-1] < 0.5 * covered[0]


@pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no folder of photographs cifar10-jpeg in ../shared beside the checkout"
)
@pytest.mark.parametrize("how", ["blur", "noise", "mode collapse"])
def test_it_ranks_what_grows_worse_on_the_held_out_half_of_its_own_kind(embedded, folder_images, how):
    samples, reference = folder_images
    reference = embedded.features(reference)
    values = [Fd()(embedded.features(images), reference) for images in degraded(samples, how)]
    assert values == sorted(values) and values[-1] > 3 * values[0]


@pytest.fixture(scope="module")
def folder_images():
    return disjoint(open_dataset(f"folder:{FOLDER}").sample("test", 400), 200, 200)


def test_weights_that_are_not_on_record_are_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    with pytest.raises(InputError, match=r"mine\.safetensors: No such file"):
        open_extractor(f"embedded64:{path}")
    shutil.copy(SHIPPED, path)
    with pytest.raises(InputError, match=r"mine\.json: No such file"):
        open_extractor(f"embedded64:{path}")
    shutil.copy(SHIPPED.with_suffix(".json"), path.with_suffix(".json"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"mine\.safetensors: sha256 is .* its record says"):
        open_extractor(f"embedded64:{path}")
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(InputError, match=r"mine\.json: not a record of `dipddpm train-extractor`"):
        open_extractor(f"embedded64:{path}")
    write_checkpoint(path, checkpoint({"layers": torch.zeros(1)}), {})
    with pytest.raises(InputError, match="not the network that it says it is"):
        open_extractor(f"embedded64:{path}")


def test_other_weights_have_another_name(tmp_path, photographs):
    torch.manual_seed(0)
    write_checkpoint(tmp_path / "mine.safetensors", checkpoint(Embedding().state_dict()), {})
    mine = open_extractor(f"embedded64:{tmp_path}/mine.safetensors")
    assert mine.name == f"embedded64-{mine.fingerprint[:8]}"
    assert title("fd", mine, 1000, "test") == f"FD-{mine.name}@1000-test"
    assert mine.features(photographs[0][:2]).shape == (2, 64)


# ---- its training -------------------------------------------------------------------------------------------------


@pytest.fixture
def colours(tmp_path):
    """Two classes that one can tell apart: reddish and bluish noise."""
    rng = torch.Generator().manual_seed(0)
    for split, count in (("train", 24), ("test", 6)):
        for channel, name in ((0, "red"), (2, "blue")):
            folder = tmp_path / "colours" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(0, 128, (32, 32, 3), generator=rng, dtype=torch.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return tmp_path / "colours"


def test_labels_follow_the_images(colours):
    dataset = open_dataset(f"folder:{colours}")
    for split in ("train", "test"):
        images, names = dataset.load(split), labels(dataset, split)
        brightest = images.float().mean((2, 3)).argmax(1)
        assert [("red", "", "blue")[i] for i in brightest] == names and len(set(names)) == 2


def test_train_extractor_command(colours, tmp_path, capsys):
    command = ["train-extractor", "--dataset", f"folder:{colours}", "--batch", "16", "--out"]
    assert main([*command, str(tmp_path / "a.safetensors"), "--epochs", "3"]) == 0
    assert "held-out accuracy" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record["classes"] == ["blue", "red"] and record["data"] == f"folder:{tmp_path.name}/colours"
    assert len(record["curve"]["rows"]) == 3 and record["held_out"] == 12
    assert open_extractor(f"embedded64:{tmp_path}/a.safetensors").fingerprint == record["sha256"]
    assert main([*command, str(tmp_path / "a.safetensors"), "--epochs", "4"]) == 2
    assert "belongs to a run with other settings (epochs)" in capsys.readouterr().err
    shutil.move(colours / "train" / "red" / "0.png", colours / "train" / "blue" / "24.png")  # the same images, in all
    assert main([*command, str(tmp_path / "a.safetensors"), "--epochs", "3"]) == 2
    assert "belongs to a run with other settings (images_hash)" in capsys.readouterr().err
    (tmp_path / "a.safetensors.state").write_bytes(b"cut short")
    assert main([*command, str(tmp_path / "a.safetensors"), "--epochs", "3"]) == 2
    assert "a.safetensors.state is damaged: delete it, and the run begins anew" in capsys.readouterr().err


@pytest.mark.parametrize(("epoch", "saved"), [(1, "none was saved yet"), (2, r".*\.state, of epoch 1")])
def test_a_loss_that_is_nan_names_the_state_that_there_is(colours, tmp_path, monkeypatch, epoch, saved):
    step, calls = torch.optim.AdamW.step, []

    def spoilt(self):
        calls.append(1)
        if len(calls) == 2 * epoch - 1:  # the first update of two an epoch
            self.param_groups[0]["lr"] = float("nan")
        return step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", spoilt)
    with pytest.raises(InputError, match=rf"the loss became NaN in epoch {epoch}; last good state: {saved}$"):
        train_extractor(open_dataset(f"folder:{colours}"), tmp_path / "a.safetensors", epochs=2, batch=16)


def test_a_stopped_training_goes_on_to_the_same_weights(colours, tmp_path, monkeypatch):
    command = ["train-extractor", "--dataset", f"folder:{colours}", "--batch", "16", "--epochs", "2", "--out"]
    assert main([*command, str(tmp_path / "whole.safetensors")]) == 0
    saved = write_state

    def save_and_stop(*args):
        saved(*args)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("dipddpm.train_extractor.write_state", save_and_stop)
    assert main([*command, str(tmp_path / "stopped.safetensors")]) == 130
    assert not (tmp_path / "stopped.safetensors").exists()
    assert main([*command, str(tmp_path / "stopped.safetensors")]) == 0
    assert (tmp_path / "stopped.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_images_without_classes_are_refused(colours, tmp_path, capsys):
    out = ["--out", str(tmp_path / "a.safetensors")]
    assert main(["train-extractor", "--dataset", "photo-patches", *out]) == 2
    assert "carries no classes: use folder:PATH with one sub-folder a class" in capsys.readouterr().err
    assert main(["train-extractor", "--dataset", f"folder:{colours / 'train' / 'red'}", *out]) == 2
    assert "lies in no class folder" in capsys.readouterr().err


def test_augmentation_moves_pixels_and_makes_none():
    images = torch.arange(32, dtype=torch.uint8).expand(40, 3, 32, 32)
    moved = augment(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape and moved.dtype == torch.uint8
    steps = (moved[:, 0, 0, 1:].int() - moved[:, 0, 0, :-1].int())[:, 8:-8]
    assert set(steps.unique().tolist()) == {-1, 1}  # some mirrored, some not, nothing in between
    assert torch.equal(moved, augment(images, torch.Generator().manual_seed(0)))


# ---- Inception ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """An empty cache and no network."""

    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def test_inception_weights_that_are_missing_or_wrong(no_cache, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("unpickled before its hash was checked")

    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(
        InputError,
        match=r"not to be downloaded .*no network.*fetch https://.*6726825d\.pth and name the file "
        r"\(--extractor inception-v3:PATH\), or use the extractor embedded64",
    ):
        open_extractor("inception-v3")
    with pytest.raises(InputError, match=r"none\.pth: cannot be read"):
        open_extractor(f"inception-v3:{tmp_path}/none.pth")
    (tmp_path / "wrong.pth").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"wrong\.pth: sha256 is .* of 7 bytes, must be 6726825d0af5f729"):
        open_extractor(f"inception-v3:{tmp_path}/wrong.pth")
    for name in inception.CACHED_NAMES:
        no_cache.mkdir(parents=True, exist_ok=True)
        (no_cache / name).write_bytes(b"cut short")
        with pytest.raises(InputError, match=rf"{name}: sha256 is"):
            open_extractor("inception-v3")
        (no_cache / name).unlink()


def test_a_download_lands_in_the_cache_under_the_checked_hash(no_cache, monkeypatch):
    asked = []

    def download(url, target, hash_prefix):
        asked.append((url.rpartition("/")[2], hash_prefix))
        Path(target).write_bytes(b"the weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    sha256 = hashlib.sha256(b"the weights").hexdigest()
    assert inception.read_weights(None, sha256) == inception.read_weights(None, sha256) == b"the weights"
    assert asked == [(FILE_NAME, sha256)]


@pytest.mark.numerics
def test_inception_runs_with_weights_of_the_hash_it_was_given(no_cache, monkeypatch):
    buffer = io.BytesIO()
    torch.save({}, buffer)
    torch.manual_seed(0)
    with monkeypatch.context() as patch:  # torch-fidelity makes none without weights
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, weights: None)
        buffer.seek(0)
        random = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path=buffer)
    no_cache.mkdir(parents=True)
    path = no_cache / FILE_NAME
    torch.save(random.state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = Inception(sha256=sha256)
    images = torch.randint(0, 256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = found.features(images)
    assert features.shape == (1, 2048) and torch.allclose(features, random(images)[0], atol=1e-5)
    # Not the published weights, so nothing made with them may be called FID.
    assert found.fingerprint == sha256 != FID_SHA256 and not found.gives_fid
    assert title("fd", found, 50_000, "train") == f"FD-inception-v3-{sha256[:8]}@50k-train"
    with pytest.raises(InputError, match="with 2048 features each set needs more than 2048"):
        Fd()(torch.zeros(2048, 2048), torch.zeros(3000, 2048))
