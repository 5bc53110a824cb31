"""The prior 'learned': a checkpoint that is what it says, a mean that agrees with y, and better than what is free."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from numerics import assert_same_to_rounding, growth_of

import dipddpm
from dipddpm.data import open_dataset, to_float
from dipddpm.errors import InputError
from dipddpm.measure.content import describe_call
from dipddpm.metrics.psnr import Psnr
from dipddpm.prior_sets import make_prior, observe
from dipddpm.priors import Evidence, prior
from dipddpm.priors.learned import SHIPPED, Learned
from dipddpm.supervised import honest_tasks
from dipddpm.warm_start import FLOOR, WarmStart, checkpoint, open_warm_start


@pytest.fixture(scope="module")
def validation():
    """Crops of the validation photographs, which no network was trained on."""
    return open_dataset("photo-patches").sample("validation", 24)


@pytest.fixture
def mine(tmp_path):
    """A checkpoint of random weights, with its record."""
    torch.manual_seed(0)
    model = WarmStart(channels=(8, 16))
    torch.nn.init.normal_(model.correction.weight, std=0.01)
    path = tmp_path / "mine.safetensors"
    data = checkpoint(model.state_dict(), model.config)
    path.write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest(), "training_seconds": 7.0, "size": 32}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def test_a_checkpoint_that_is_missing_or_damaged_is_one_clear_error(mine, validation):
    evidence = Evidence(observe(validation[:1], "inpaint", 0, "cpu"))
    with pytest.raises(InputError, match=r"none\.safetensors: No such file .*`dipddpm train-warm-start` writes it"):
        Learned(mine.with_stem("none")).mu(evidence)
    data, record = mine.read_bytes(), mine.with_suffix(".json").read_text()
    mine.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"mine\.safetensors: sha256 is .* its record says"):
        Learned(mine).mu(evidence)
    for text in ("{}", "no json"):
        mine.with_suffix(".json").write_text(text)
        with pytest.raises(InputError, match=r"mine\.json: not a record of `dipddpm train-warm-start`"):
            Learned(mine).applies(evidence.observation)
    for other in (b"weights", checkpoint({"stem": torch.zeros(1)}, {"size": 32, "channels": [8, 16], "blocks": 1})):
        mine.write_bytes(other)
        right = json.loads(record) | {"sha256": hashlib.sha256(other).hexdigest()}
        mine.with_suffix(".json").write_text(json.dumps(right))
        with pytest.raises(InputError, match=r"mine\.safetensors: not (a safetensors file|the network that it says)"):
            Learned(mine).mu(evidence)
    shutil.copy(Path(dipddpm.__file__).parent / "denoisers" / "early.safetensors", mine)
    right["sha256"] = hashlib.sha256(mine.read_bytes()).hexdigest()
    mine.with_suffix(".json").write_text(json.dumps(right))
    with pytest.raises(InputError, match=r"mine\.safetensors: not written by `dipddpm train-warm-start`"):
        Learned(mine).mu(evidence)


def test_another_checkpoint_is_another_prior_and_no_network_is_held(mine, validation):
    shipped, other = prior("learned"), Learned(mine)
    evidence = Evidence(observe(validation[:1], "inpaint", 0, "cpu"))
    keys = [describe_call(make_prior, {"prior": p, "evidence": evidence}) for p in (shipped, other)]
    assert keys[0] != keys[1] and keys[0] == describe_call(make_prior, {"prior": Learned(), "evidence": evidence})
    assert shipped == Learned() != other and hash(shipped) == hash(Learned())
    mu = other.mu(evidence)
    assert all(isinstance(value, str) for value in vars(other).values()), "used once, it still holds no network"
    assert shipped.described() == "" and other.described() == other.fingerprint[:8]
    assert other.learned and other.role == "control" and other.training_seconds == 7.0 and not prior("blur").learned
    assert not torch.equal(mu, shipped.mu(evidence))


@pytest.mark.numerics
@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "denoise_25"])
def test_an_image_is_given_the_same_in_any_batch(name, validation):
    observation, made = observe(validation[:5], name, 0, "cpu"), prior("learned")
    together = made.predict(observation)
    alone = made.predict(observation.part(slice(3, 4)))

    def computed(y):
        return made.predict(type(observation)(y, observation.operator, observation.sigma, observation.consistency)).mean

    growth = growth_of(computed, observation.y)
    for ours, theirs in zip(alone, together, strict=True):
        assert_same_to_rounding(ours, theirs[3:4], operations=9 * 96, growth=growth)


@pytest.mark.parametrize("name", honest_tasks())
def test_mu_agrees_with_a_noiseless_y_and_the_spread_is_one(name, validation):
    observation = observe(validation[:4], name, 0, "cpu")
    found = prior("learned").predict(observation)
    assert torch.equal(prior("learned").mu(Evidence(observation)), found.mean)
    assert found.mean.shape == found.spread.shape == (4, 3, 32, 32) and (found.spread >= FLOOR).all()
    if not observation.sigma:
        assert torch.allclose(observation.operator.A(found.mean), observation.y, atol=1e-5)


def test_it_applies_to_the_size_that_it_was_trained_on():
    for size, applies in ((32, True), (16, False)):
        images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        assert prior("learned").applies(observe(images, "inpaint", 0, "cpu")) is applies


# ---- What ships ----------------------------------------------------------------------------------------------------


def test_the_shipped_network_is_small_and_what_its_record_says():
    record = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    assert SHIPPED.stat().st_size < 3_000_000
    assert record["sha256"] == prior("learned").fingerprint == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert {"command", "data", "seed", "updates", "loss_curve", "torch", "seconds"} <= record.keys()
    assert record["data"] == "folder:cifar10-jpeg" and record["images"] >= 20_000
    assert tuple(record["tasks"]) == honest_tasks() == tuple(record["calibration"])
    network = open_warm_start(SHIPPED)
    assert sum(p.numel() for p in network.parameters()) == record["parameters"]
    assert prior("learned").training_seconds == record["training_seconds"] > 60


@pytest.mark.parametrize(
    ("name", "free", "margin"),
    [("inpaint", "blur", 0.15), ("denoise_25", "blur", 1.0), ("denoise_50", "blur", 0.4), ("inpaint_50", "blur", 0.4)],
)
def test_it_is_better_than_what_is_free(name, free, margin):
    """On crops of a photograph that has nothing to do with its training images."""
    images = open_dataset("photo-patches").sample("validation", 48)
    evidence = Evidence(observe(images, name, 0, "cpu"))
    ours, theirs = (Psnr()(prior(p).mu(evidence), to_float(images)).mean() for p in ("learned", free))
    assert ours > theirs + margin
