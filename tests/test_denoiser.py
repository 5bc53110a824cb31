"""The noise network and its checkpoints, the shipped ones among them."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import dipddpm.denoisers.unet as module
from dipddpm.checkpoints import save_checkpoint
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import SHIPPED, WEAKER
from dipddpm.errors import InputError
from dipddpm.training_loss import HELD_OUT_T
from dipddpm.unet import Attention, UNet, time_embedding

FOLDER = Path(module.__file__).parent


def test_a_new_network_predicts_nothing():
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(UNet()(x, torch.tensor([0, 500])), torch.zeros_like(x))  # zero-initialised output


def test_every_parameter_learns_and_the_step_matters():
    torch.manual_seed(0)
    model = UNet(size=16, channels=(8, 16), attention_at=(8,))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x = torch.randn(2, 3, 16, 16)
    out = model(x, torch.tensor([10, 900]))
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert not torch.allclose(out, model(x, torch.tensor([900, 10])))


def test_attention_stands_where_it_is_asked_for():
    count = sum(type(m).__name__ == "Attention" for m in UNet(attention_at=(8,)).modules())
    assert count == 3  # down, middle, up at 8 px
    assert not any(type(m).__name__ == "Attention" for m in UNet(attention_at=()).modules())


@pytest.mark.parametrize("channels", [(20, 40), (32, 60), (), (0,), (-8, 8)])
def test_widths_that_the_groups_do_not_divide(channels):
    named = ",".join(map(str, channels)) or "none"
    with pytest.raises(InputError, match=f"a U-Net of channels {named}: each width must be a multiple of 8 .*32,64"):
        UNet(channels=channels)


def test_an_odd_width_has_no_time_embedding():
    with pytest.raises(InputError, match="the first one even"):
        UNet(channels=(9, 18), groups=3)


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (32, 1), (64, 2), (96, 3), (128, 4), (104, 2), (200, 5)])
def test_attention_shares_its_channels_out_evenly(channels, heads):
    attention = Attention(channels, 8)
    assert attention.heads == heads
    x = torch.randn(1, channels, 2, 2)
    assert torch.equal(attention(x), x)  # its projection begins at 0


def test_time_embedding_is_sinusoidal():
    emb = time_embedding(torch.tensor([0, 7]), 8)
    assert torch.equal(emb[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    assert emb[1, 4].item() == pytest.approx(torch.tensor(7.0).sin().item())


def test_a_size_that_cannot_be_halved():
    with pytest.raises(InputError, match="cannot halve 30 px"):
        UNet(size=30)


@pytest.mark.parametrize("name", [SHIPPED, *WEAKER])
def test_shipped_checkpoints_are_small_and_what_their_record_says(name):
    path = FOLDER / f"{name}.safetensors"
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert path.stat().st_size <= 6_000_000
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"command", "seed", "data", "steps", "loss_curve", "held_out_loss"} <= record.keys()
    assert record["images"] >= 20_000 and sorted(map(int, record["held_out_loss"])) == sorted(HELD_OUT_T)


def test_the_shipped_training_run_got_better_all_along():
    early, middle, last = (
        json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["held_out_loss"]
        for name in (*WEAKER, SHIPPED)
    )
    assert all(early[t] > middle[t] > last[t] for t in early)


def test_the_shipped_denoiser_removes_noise():
    denoiser = open_denoiser("unet")
    from dipddpm.data import open_dataset, to_float

    x_0 = to_float(open_dataset("photo-patches").sample("test", 16))
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    for t, least in ((50, 0.5), (300, 0.8)):
        x_t = denoiser.schedule.q_sample(x_0, torch.full((16,), t), eps)
        assert (denoiser.eps(x_t, t) - eps).square().mean() < 1 - least


@pytest.mark.numerics
def test_an_evaluation_of_an_image_is_the_same_in_any_batch():
    denoiser, x = open_denoiser("unet"), torch.randn(3, 3, 32, 32)
    assert torch.allclose(denoiser.eps(x, 100)[1:2], denoiser.eps(x[1:2], 100), atol=1e-4)


@pytest.mark.numerics
def test_checkpoint_round_trip(tmp_path):
    torch.manual_seed(1)
    model = UNet(size=16, channels=(8, 16))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.05)
    save_checkpoint(tmp_path / "a.safetensors", model.state_dict(), {"model": model.config, "T": 500})
    denoiser, x = open_denoiser(f"unet:{tmp_path}/a.safetensors"), torch.randn(2, 3, 16, 16)
    assert denoiser.schedule.T == 500 and denoiser.size == 16
    assert torch.allclose(denoiser.eps(x, 7), model(x, torch.tensor([7, 7])), atol=1e-5)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_fingerprint_is_of_what_is_computed(tmp_path):
    shipped = FOLDER / f"{SHIPPED}.safetensors"
    with safe_open(shipped, "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(shipped)
    model = {"model": json.loads(metadata["unet"]), "T": 1000}

    def known_by(weights=weights, **record):
        save_checkpoint(tmp_path / "a.safetensors", weights, model | record)
        return open_denoiser(f"unet:{tmp_path}/a.safetensors").fingerprint

    first = open_denoiser("unet").fingerprint
    copied = {key: weights[key] for key in sorted(weights, reverse=True)}
    assert known_by(copied, priors="another record") == first  # another file, the same network
    assert (tmp_path / "a.safetensors").read_bytes() != shipped.read_bytes()
    moved = weights | {"head.2.bias": weights["head.2.bias"] + 1e-6}
    others = [known_by(moved), known_by(T=999), known_by(injection="weights")]
    others.append(known_by(model=model["model"] | {"groups": 4}))
    others += [open_denoiser(f"unet:{name}").fingerprint for name in WEAKER]
    assert len({first, *others}) == 7


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(InputError, match="unknown denoiser 'ncsn': choose from diffusers, edm, flow, unet"):
        open_denoiser("ncsn")
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        open_denoiser("unet:none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match=r"text\.safetensors: not a safetensors file"):
        open_denoiser(f"unet:{tmp_path}/text.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not written by `dipddpm train`"):
        open_denoiser(f"unet:{tmp_path}/other.safetensors")
    weights = load_file(FOLDER / f"{SHIPPED}.safetensors")
    config = UNet(channels=(16, 32)).config
    save_checkpoint(tmp_path / "shape.safetensors", weights, {"model": config, "T": 1000})
    with pytest.raises(InputError, match=r"shape\.safetensors: not the network that it says it is"):
        open_denoiser(f"unet:{tmp_path}/shape.safetensors")


@pytest.fixture
def small(tmp_path):
    """A checkpoint of a few kilobytes, written anew with changes to its metadata and its weights."""
    model = UNet(size=8, channels=(8, 16), attention_at=())

    def write(weights=None, **metadata):
        save_checkpoint(tmp_path / "a.safetensors", model.state_dict(), {"model": model.config, "T": 100})
        with safe_open(tmp_path / "a.safetensors", "pt") as opened:
            kept = opened.metadata()
        (tmp_path / "a.json").unlink()  # whose hash would be that of the file before
        changed = {key: value for key, value in (kept | metadata).items() if value is not None}
        save_file(load_file(tmp_path / "a.safetensors") | (weights or {}), tmp_path / "a.safetensors", changed)
        return f"unet:{tmp_path}/a.safetensors"

    write.config = model.config
    return write


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(small, value):
    weight = torch.zeros(8)
    weight[3] = value
    with pytest.raises(InputError, match=r"a\.safetensors: 1 of 8 values of its tensor stem\.bias are NaN or infinite"):
        open_denoiser(small({"stem.bias": weight}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "is damaged"),
        ("[]", "is damaged"),
        ("3", "is damaged"),
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("1" * 5000, "is damaged"),
        ("{}", "lacks size, in_channels, channels, blocks"),
    ],
)
def test_metadata_that_are_no_configuration(small, text, message):
    with pytest.raises(InputError, match=rf"a\.safetensors: its U-Net configuration {message}"):
        open_denoiser(small(unet=text))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 10**9), ("size", 0), ("size", -8), ("size", 8.0), ("size", "8"), ("size", None), ("size", True),
        ("in_channels", 10**12), ("in_channels", 0), ("in_channels", [3]),
        ("channels", 8), ("channels", None), ("channels", []), ("channels", [8] * 1000), ("channels", [8, 10**12]),
        ("channels", [8, -16]), ("channels", [8, 16.0]), ("channels", ["8", "16"]), ("channels", {"8": 16}),
        ("blocks", 10**9), ("blocks", 0), ("blocks", -1), ("blocks", None),
        ("attention_at", 8), ("attention_at", list(range(10**5))), ("attention_at", [None]),
        ("groups", 0), ("groups", -8), ("groups", 10**9), ("groups", 2.5),
        ("dropout", 1), ("dropout", -0.1), ("dropout", float("nan")), ("dropout", "0"), ("dropout", None),
        ("other", 1),
    ],
)  # fmt: skip
def test_sizes_are_checked_before_anything_is_built(small, name, value):
    with pytest.raises(InputError, match=r"^checkpoint .*a\.safetensors: .*(U-Net|takes|halve)") as refused:
        open_denoiser(small(unet=json.dumps(small.config | {name: value})))
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("T", ["1e400", "inf", "nan", "0", "-1", "100001", "9" * 5000, "12.5", "", "ten", "٣", None])
def test_a_number_of_steps_that_is_none(small, T):
    with pytest.raises(InputError, match=r"a\.safetensors: T must be a whole number from 1 to 100000, it is"):
        open_denoiser(small(T=T))


def test_an_injection_that_there_is_not_names_the_file(small):
    with pytest.raises(InputError, match=r"checkpoint .*a\.safetensors: unknown injection 'telepathy': choose from"):
        open_denoiser(small(injection="telepathy"))


def test_a_checkpoint_in_the_home_folder(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_denoiser(small()).fingerprint == open_denoiser("unet:~/a.safetensors").fingerprint
