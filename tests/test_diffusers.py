"""Checkpoints of the library diffusers: the same network, betas, prediction and clipping as in its own loop."""

import json
import shutil
import sys
from itertools import pairwise

import pytest
import torch
from numerics import apart, assert_same_to_rounding, nudged
from safetensors.torch import load_file, save_file

from dipddpm.data import to_uint8
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.generate import sample_images
from dipddpm.restore import Setting
from dipddpm.rng import ImageRng, seed_for
from dipddpm.sampling import sample_ddim
from dipddpm.schedule import Schedule

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dipddpm[diffusers]")

# Its own, about a conversion inside diffusers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# https://huggingface.co/google/ddpm-cifar10-32, config.json and scheduler_config.json
CIFAR10_UNET = {
    "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"], "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3, "layers_per_block": 2, "center_input_sample": False,
    "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 32, "out_channels": 3, "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
CIFAR10_SCHEDULER = {
    "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": True, "num_train_timesteps": 1000,
    "trained_betas": None, "variance_type": "fixed_large",
}  # fmt: skip
SMALL_UNET = {
    "sample_size": 8, "block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1, "in_channels": 3,
    "out_channels": 3, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "attention_head_dim": 4,
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip


def pipeline(unet=SMALL_UNET, kind="DDPMScheduler", **scheduler):
    torch.manual_seed(0)
    return diffusers.DDPMPipeline(diffusers.UNet2DModel(**unet), getattr(diffusers, kind)(**scheduler))


def opened(pipe, folder):
    pipe.save_pretrained(folder)
    return open_denoiser(f"diffusers:{folder}")


def assert_same_as_its_own_loop(pipe, denoiser, count, eta=0.0, batch=2):
    """Our DDIM with our reading of the checkpoint, against the scheduler and network of diffusers, step by step.

    To rounding. x_0 is divided by sqrt(abar), which is 0.006 where the linear schedule begins and 5e-5 where the cosine
    one does, and enters the next state times the sqrt(abar) of that: by so much an error of a step may grow. What the
    rest makes of it, an ulp of the start says.
    """

    class Watched:
        schedule = denoiser.schedule

        def __init__(self):
            self.states = []

        def eps(self, x_t, t):
            self.states.append(x_t)
            return denoiser.eps(x_t, t)

    def states_from(x_T):
        watched, noise = Watched(), ImageRng([9 + s for s in seeds])
        x_0 = sample_ddim(watched, x_T, steps, noise, eta=eta, clip=denoiser.clip)
        return [*watched.states[1:], x_0]

    seeds, steps = range(batch), denoiser.schedule.steps(count)
    x = ImageRng(seeds).randn(3, denoiser.size, denoiser.size)
    states, moved = states_from(x), states_from(nudged(x))
    scale = max(state.abs().max().item() for state in states)
    growth = max(1.0, max(map(apart, states, moved)) / (scale * torch.finfo(x.dtype).eps))
    abar = [denoiser.schedule.abar(t) for t in steps] + [1.0]
    division = max((after / before) ** 0.5 for before, after in pairwise(abar[:-1]))
    # Conventions of ours: steps from T - 1 down, the last one to the clean image, eps from the clipped x_0.
    ddim = diffusers.DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True
    )
    ddim.set_timesteps(count)
    assert ddim.timesteps.tolist() == steps
    noise = ImageRng([9 + s for s in seeds])
    pipe.unet.eval()
    with torch.inference_mode():
        for i, (t, ours) in enumerate(zip(steps, states, strict=True)):
            drawn = noise.randn(*x.shape[1:]) if eta and i < count - 1 else torch.zeros_like(x)
            x = ddim.step(
                pipe.unet(x, t).sample, t, x, eta=eta, use_clipped_model_output=True, variance_noise=drawn
            ).prev_sample
            # in each evaluation a layer, its norm and its activation round; diffusers' schedule is in float32 besides
            grown = max(division, growth * (i + 1))
            assert_same_to_rounding(ours, x, operations=8, scale=scale, growth=grown, what=f"after step {t}:")


def test_the_cifar10_ddpm_reloads_and_samples_as_diffusers_does(tmp_path):
    pipe = pipeline(CIFAR10_UNET, **CIFAR10_SCHEDULER)
    assert sum(p.numel() for p in pipe.unet.parameters()) == 35_746_307
    denoiser = opened(pipe, tmp_path)
    assert (denoiser.size, denoiser.schedule.T, denoiser.clip) == (32, 1000, 1.0)
    torch.testing.assert_close(denoiser.schedule.beta, Schedule.linear().beta, rtol=1e-6, atol=0)
    assert_same_as_its_own_loop(pipe, denoiser, 4, batch=1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.numerics
def test_every_prediction_on_every_betas(prediction, betas, tmp_path):
    pipe = pipeline(prediction_type=prediction, beta_schedule=betas)
    assert_same_as_its_own_loop(pipe, opened(pipe, tmp_path), 10, eta=1.0)


@pytest.mark.numerics
def test_betas_of_their_own(tmp_path):
    betas = torch.linspace(1e-3, 0.3, 50).tolist()
    pipe = pipeline(trained_betas=betas, num_train_timesteps=50)
    denoiser = opened(pipe, tmp_path)
    torch.testing.assert_close(denoiser.schedule.beta, torch.tensor(betas, dtype=torch.float64), rtol=1e-6, atol=0)
    assert_same_as_its_own_loop(pipe, denoiser, 5)


@pytest.mark.parametrize(
    ("clipping", "clip"),
    [({"clip_sample": False}, 0.0), ({"clip_sample_range": 1.0}, 1.0), ({"clip_sample_range": 2.5}, 2.5)],
)
def test_clipping_is_the_checkpoints(clipping, clip, tmp_path):
    pipe = pipeline(prediction_type="v_prediction", **clipping)
    denoiser = opened(pipe, tmp_path)
    assert denoiser.clip == clip
    assert_same_as_its_own_loop(pipe, denoiser, 10)


def test_restoration_and_generation_clip_as_the_checkpoint_does(tmp_path):
    denoiser = opened(pipeline(prediction_type="v_prediction", clip_sample=False), tmp_path)
    images, _ = sample_images(denoiser, range(2), Setting(6), seed=3)
    x = ImageRng(seed_for(3, "generate", i) for i in range(2)).randn(3, 8, 8)
    free, clipped = (sample_ddim(denoiser, x, denoiser.schedule.steps(6), ImageRng([0, 1]), clip=c) for c in (0, 1))
    assert torch.equal(images, to_uint8(free)) and not torch.equal(images, to_uint8(clipped))


def test_a_learned_variance_is_left_out(tmp_path):
    pipe = pipeline(SMALL_UNET | {"out_channels": 6}, variance_type="learned_range")
    denoiser, x = opened(pipe, tmp_path), torch.randn(2, 3, 8, 8)
    assert torch.equal(denoiser.eps(x, 7), pipe.unet.eval()(x, 7).sample[:, :3])


def test_a_fingerprint_is_of_what_is_computed(tmp_path):
    pipe = pipeline()
    first = opened(pipe, tmp_path / "a").fingerprint
    flat = tmp_path / "flat"  # as the oldest repositories are laid out, and with pickled weights
    pipe.save_pretrained(tmp_path / "b", safe_serialization=False)
    shutil.copytree(tmp_path / "b" / "unet", flat)
    for file in ("model_index.json", "scheduler/scheduler_config.json"):
        shutil.copy(tmp_path / "b" / file, flat)
    assert open_denoiser(f"diffusers:{flat}").fingerprint == first
    with torch.no_grad():
        pipe.unet.conv_out.bias[0] += 1e-3
    others = [opened(pipe, tmp_path / "c").fingerprint]
    others += [
        opened(pipeline(**options), tmp_path / str(i)).fingerprint
        for i, options in enumerate([{"beta_end": 0.03}, {"prediction_type": "sample"}, {"clip_sample": False}])
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("unet", "kind", "scheduler", "message"),
    [
        ({"num_class_embeds": 10}, "DDPMScheduler", {}, "wants a class"),
        ({"in_channels": 4}, "DDPMScheduler", {}, "4 -> 3 channels"),
        ({"out_channels": 6}, "DDPMScheduler", {}, "no learned variance"),
        ({"sample_size": [8, 16]}, "DDPMScheduler", {}, "no square size"),
        ({"sample_size": None}, "DDPMScheduler", {}, "no square size"),
        ({"sample_size": [{}, {}]}, "DDPMScheduler", {}, "no square size"),
        ({}, "DDPMScheduler", {"thresholding": True}, "thresholds dynamically"),
        ({}, "DDIMScheduler", {"rescale_betas_zero_snr": True}, "reach 0 or 1"),
        ({}, "ScoreSdeVeScheduler", {}, "ScoreSdeVeScheduler has no betas"),
        ({}, "DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
    ],
)
def test_what_will_not_do_is_said(unet, kind, scheduler, message, tmp_path):
    with pytest.raises(InputError, match=message):
        opened(pipeline(SMALL_UNET | unet, kind, **scheduler), tmp_path)


def test_faulty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=rf"diffusers:{tmp_path}: no model_index\.json in it"):
        open_denoiser(f"diffusers:{tmp_path}")
    pipeline().save_pretrained(tmp_path)
    weights, index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors", tmp_path / "model_index.json"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="its unet does not load"):
        open_denoiser(f"diffusers:{tmp_path}")
    weights.unlink()
    with pytest.raises(InputError, match="its unet does not load"):
        open_denoiser(f"diffusers:{tmp_path}")
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"unet": ["diffusers", "UNet2DConditionModel"], "_class_name": "Other"}))
    with pytest.raises(InputError, match="a Other with UNet2DConditionModel: only pipelines with a UNet2DModel"):
        open_denoiser(f"diffusers:{tmp_path}")
    index.write_text("not JSON")
    with pytest.raises(InputError, match=r"model_index\.json is damaged"):
        open_denoiser(f"diffusers:{tmp_path}")
    with pytest.raises(InputError, match="needs a location: write diffusers:FOLDER"):
        open_denoiser("diffusers")


@pytest.mark.parametrize("location", ["google/ddpm-cifar10-32", "a/folder/that/is/not"])
def test_without_folder_and_network_is_one_clear_error(location, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=rf"diffusers:{location}: no such folder, and not to be had from the"):
        open_denoiser(f"diffusers:{location}")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"pip install dipddpm\[diffusers\]"):
        open_denoiser("diffusers:google/ddpm-cifar10-32")


# ---- damaged and old folders --------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path):
    """A pipeline that opens, its tensors, and the function that writes others in their place."""
    pipeline().save_pretrained(tmp_path)
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)

    def write(others):
        save_file({name: tensor.contiguous() for name, tensor in others.items()}, file, {"format": "pt"})
        return f"diffusers:{tmp_path}"

    return weights, write


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_the_names_of_a_wrapper_are_taken_off_and_that_is_said_once(whole, prefix, capsys):
    weights, write = whole
    right, x = open_denoiser(write(weights)), torch.randn(2, 3, 8, 8)
    spec = write({prefix + name: tensor for name, tensor in weights.items()})
    first, second = open_denoiser(spec), open_denoiser(spec)
    assert first.fingerprint == second.fingerprint == right.fingerprint
    assert torch.equal(first.eps(x, 500), right.eps(x, 500))
    assert capsys.readouterr().err.count("carry the names of a wrapper (_orig_mod. or module.), taken off") == 1


def test_tensors_that_are_missing_are_named(whole):
    weights, write = whole
    with pytest.raises(InputError, match=r"its unet lacks 1 of \d+ tensors: conv_in\.weight; save it again"):
        open_denoiser(write({name: tensor for name, tensor in weights.items() if name != "conv_in.weight"}))
    with pytest.raises(InputError, match=r"its unet lacks \d+ of \d+ tensors: mid_block.* and \d+ more; save it again"):
        open_denoiser(write({name: tensor for name, tensor in weights.items() if not name.startswith("mid_block")}))
    prefixed = {f"module.{name}": tensor for name, tensor in weights.items() if name != "conv_in.weight"}
    with pytest.raises(InputError, match=r"its unet lacks 1 of \d+ tensors: conv_in\.weight"):
        open_denoiser(write(prefixed))


def test_tensors_without_a_place_are_named(whole, capsys):
    weights, write = whole
    right = open_denoiser(write(weights)).fingerprint
    assert open_denoiser(write(weights | {"lora.up": torch.ones(3)})).fingerprint == right
    assert "1 tensors have no place in its unet and are left out: lora.up" in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(whole, value):
    weights, write = whole
    weights["conv_in.bias"][2] = value
    with pytest.raises(InputError, match=r"1 of 8 values of its tensor conv_in\.bias are NaN or infinite"):
        open_denoiser(write(weights))


def rewritten(folder, part, **changes):
    """A pipeline with other entries in a configuration; None deletes one."""
    pipeline(prediction_type="sample").save_pretrained(folder)
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    text = json.dumps({name: value for name, value in content.items() if value is not None})
    file.write_text(text, encoding="utf-8")
    return f"diffusers:{folder}"


def test_predict_epsilon_of_old_schedulers(tmp_path):
    right, x = opened(pipeline(prediction_type="sample"), tmp_path), torch.randn(1, 3, 8, 8)
    old = open_denoiser(rewritten(tmp_path, "scheduler", prediction_type=None, predict_epsilon=False))
    assert old.prediction == "sample" and torch.equal(old.eps(x, 500), right.eps(x, 500))
    assert old.fingerprint == right.fingerprint
    assert open_denoiser(rewritten(tmp_path, "scheduler", predict_epsilon=False)).prediction == "sample"
    for said in ({"predict_epsilon": True}, {}):
        old = open_denoiser(rewritten(tmp_path, "scheduler", prediction_type=None, **said))
        assert old.prediction == "epsilon"


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("scheduler", {"predict_epsilon": True}, "prediction_type 'sample', and predict_epsilon true, .* 'epsilon'"),
        ("scheduler", {"predict_epsilon": "no"}, "predict_epsilon in its scheduler is 'no'"),
        ("scheduler", {"prediction_type": ["sample"]}, r"predicts \['sample'\]: known are epsilon"),
        ("scheduler", {"num_train_timesteps": 10**9}, "whole number from 1 to 100000"),
        ("scheduler", {"num_train_timesteps": "many"}, "whole number from 1 to 100000"),
        ("scheduler", {"clip_sample_range": float("inf")}, "clip_sample_range of its scheduler is inf"),
        ("scheduler", {"clip_sample_range": "wide"}, "clip_sample_range of its scheduler is 'wide'"),
        ("unet", {"layers_per_block": 10**9}, "layers_per_block of its network is out of range"),
        ("unet", {"block_out_channels": [8, 10**9]}, "block_out_channels of its network is out of range"),
        ("unet", {"block_out_channels": [8, -16]}, "block_out_channels of its network is out of range"),
        ("unet", {"sample_size": 10**9}, "sample_size of its network is out of range"),
        ("unet", {"norm_num_groups": 0}, "its unet does not load"),
    ],
)
def test_configurations_that_say_what_cannot_be(tmp_path, part, changes, message):
    with pytest.raises(InputError, match=rf"^diffusers:.*{message}"):
        open_denoiser(rewritten(tmp_path, part, **changes))


@pytest.mark.parametrize("text", ["[]", "null", "3", "", "[" * 100_000, "1" * 5000, '{"unet": 5}', '{"unet": [1]}'])
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_damaged_json_is_one_clear_error(whole, tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^diffusers:{tmp_path}: "):
        open_denoiser(f"diffusers:{tmp_path}")


def test_a_class_that_is_no_scheduler_is_not_opened(tmp_path):
    pipeline().save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", "DiffusionPipeline"]
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(InputError, match="its scheduler is DiffusionPipeline, which this diffusers does not know"):
        open_denoiser(f"diffusers:{tmp_path}")


def test_a_pipeline_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    right = opened(pipeline(), tmp_path / "mine")
    assert open_denoiser("diffusers:~/mine").fingerprint == right.fingerprint


@pytest.mark.parametrize("part", ["unet", "scheduler"])
def test_a_long_value_is_quoted_in_part(whole, tmp_path, part):
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {part: ["diffusers", [1] * 1000]}))
    with pytest.raises(InputError, match=r"\[1, 1, 1, .*\.\.\.$") as refused:
        open_denoiser(f"diffusers:{index.parent}")
    assert len(str(refused.value)) < 900
