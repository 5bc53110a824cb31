"""Precision and compilation of a denoiser: what they change, what they may not, and what a result is known by."""

from argparse import Namespace
from functools import partial

import pytest
import torch
from numerics import apart

import dipddpm.denoisers as family
from dipddpm.cli import command_line, options
from dipddpm.denoisers import Denoiser, known_by, open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.device import PRECISIONS, chosen_precision, default_precision, products
from dipddpm.errors import InputError
from dipddpm.injection.none import NoInjection
from dipddpm.restore import Counted, Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.schedule import Schedule
from dipddpm.session import opening
from dipddpm.tasks import task
from dipddpm.unet import UNet, time_embedding


@pytest.fixture
def traced(monkeypatch):
    """Networks are traced, and run without the backend, which takes a minute on a CPU; a list of the traces."""
    traces = []

    def backend(graph, inputs):
        traces.append(tuple(inputs[-1].shape) if inputs else ())
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return traces


def small(precision="", compiled=False):
    """A network that answers something, of a seed."""
    torch.manual_seed(0)
    model = UNet(size=8, channels=(8, 16), attention_at=(4,))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return UNetDenoiser.of(model, Schedule.linear(), NoInjection(), "small", "cpu", precision, compiled)


def tiny_diffusers(folder):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dipddpm[diffusers]")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(folder)
    return f"diffusers:{folder}"


def test_bfloat16_is_near_to_float32_and_gives_float32():
    x = ImageRng(range(3)).randn(3, 8, 8)
    for t in (0, 7, 999):
        exact, rounded = small().eps(x, t), small("bf16").eps(x, t)
        assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
        assert apart(exact, rounded) <= 0.03 * exact.abs().max()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_network_of_diffusers_in_bfloat16(tmp_path):
    spec, x = tiny_diffusers(tmp_path), ImageRng(range(3)).randn(3, 8, 8)
    plain, rounded = open_denoiser(spec), open_denoiser(spec, precision="bf16")
    for t in (0, 7, 999):
        exact, other = plain.eps(x, t), rounded.eps(x, t)
        assert other.dtype == torch.float32 and not torch.equal(exact, other)
        assert apart(exact, other) <= 0.05 * exact.abs().max()
    assert rounded.fingerprint == f"{plain.fingerprint}+bf16"


def test_the_step_is_exact_in_bfloat16():
    """257 is no number of 8 bits: rounded before its sine, it would be 256."""
    t = torch.tensor([257, 999])
    with torch.autocast("cpu", torch.bfloat16):
        inside = time_embedding(t, 8)
    assert torch.equal(inside, time_embedding(t, 8))
    rounded, x = small("bf16"), ImageRng([0]).randn(3, 8, 8)
    assert not torch.equal(rounded.eps(x, 257), rounded.eps(x, 256))


def test_compiled_is_the_same_and_is_traced_anew_for_no_step(traced):
    plain, compiled = small(), small(compiled=True)
    for count in (2, 3, 5, 6):
        x = ImageRng(range(count)).randn(3, 8, 8)
        for t in (0, 400, 999):
            assert torch.allclose(compiled.eps(x, t), plain.eps(x, t), atol=1e-5)
    assert len(traced) == 2, "one batch size, then any"


def test_a_compiled_denoiser_restores(traced):
    observation = task("super_resolution").observe(ImageRng(range(2)).rand(3, 8, 8) * 2 - 1, ImageRng(range(2)))
    results = [
        restore(denoiser, observation, None, Setting(3), ImageRng(range(2)))[0]
        for denoiser in (small(), small(compiled=True))
    ]
    assert torch.allclose(*results, atol=1e-4) and len(traced) == 1


def test_results_are_known_by_how_the_network_ran():
    assert known_by("abc", "fp32", False) == "abc"  # what is stored stays valid
    assert known_by("abc", "tf32", False) == "abc+tf32"
    assert known_by("abc", "bf16", True) == "abc+bf16+compiled"
    assert known_by("abc", "fp32", True) == "abc+compiled"
    assert small().fingerprint == small("fp32").fingerprint == "small"
    assert small("bf16").fingerprint == "small+bf16"
    opened = open_denoiser("unet", precision="bf16")
    assert opened.fingerprint == f"{open_denoiser('unet').fingerprint}+bf16" and opened.precision == "bf16"


def test_precisions_are_refused_by_name():
    with pytest.raises(InputError, match="unknown precision 'fp16': choose from fp32, tf32, bf16"):
        open_denoiser("unet", precision="fp16")
    with pytest.raises(InputError, match="precision tf32 is one of CUDA, the device is cpu: choose fp32 or bf16"):
        open_denoiser("unet", precision="tf32")
    assert chosen_precision("", "cuda") == default_precision("cuda:1") == "tf32"
    assert chosen_precision("", "cpu") == "fp32" and options.PRECISIONS == PRECISIONS


class PlugIn(Denoiser):
    """A denoiser of another distribution: it takes a location and a device."""

    name = "plug-in"
    schedule, size, fingerprint = Schedule.linear(), 8, "theirs"

    def __init__(self, location, device):
        self.location, self.device = location, device

    def eps(self, x_t, t):
        return x_t


def test_a_denoiser_without_precisions_is_opened_as_it_is(monkeypatch):
    monkeypatch.setattr(family, "denoisers", lambda: {"plug-in": PlugIn})
    for precision in ("", "fp32"):
        opened = open_denoiser("plug-in:there", "cpu", precision)
        assert (opened.location, opened.device, opened.fingerprint) == ("there", "cpu", "theirs")
        assert not opened.precision and not opened.compiled
    with pytest.raises(InputError, match="the denoiser plug-in cannot run in bf16"):
        open_denoiser("plug-in", precision="bf16")
    with pytest.raises(InputError, match="the denoiser plug-in cannot be compiled"):
        open_denoiser("plug-in", compiled=True)


def test_tf32_is_switched_within_and_put_back():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    for precision in PRECISIONS:
        with pytest.raises(KeyError), products(precision):
            assert matmul.allow_tf32 == cudnn.allow_tf32 == (precision == "tf32")
            raise KeyError
        assert (matmul.allow_tf32, cudnn.allow_tf32) == before


@pytest.mark.parametrize("verb", ["generate --count 1 --out x", "profile evaluation"])
def test_verbs_take_precision_and_compilation(verb, monkeypatch):
    args = command_line.parser().parse_args([*verb.split(), "--precision", "bf16", "--compile", "--device", "cpu"])
    asked = command_line.parser().parse_args(verb.split())
    assert (args.precision, args.compile, asked.precision, asked.compile) == ("bf16", True, "", False)
    from importlib import import_module

    class Opened(Exception):
        pass

    def opens(*arguments):
        raise Opened(arguments)

    module = import_module(args.module)
    monkeypatch.setattr(module, "open_denoiser", opens)
    with pytest.raises(Opened) as opened:
        module.run(args)
    assert [str(argument) for argument in opened.value.args[0]] == ["unet", "cpu", "bf16", "True"]


def test_a_session_takes_precision_and_compilation(monkeypatch):
    class Opened(Exception):
        pass

    def opens(*arguments):
        raise Opened(arguments)

    monkeypatch.setattr(opening, "open_denoiser", opens)
    monkeypatch.setattr(opening, "keep_freed", lambda: None)
    monkeypatch.setattr(opening.gc, "freeze", lambda: None)
    option = Namespace(device="cpu", profile="smoke", axis=[], denoiser="unet", precision="bf16", compile=True)
    option.seed, option.data_root = 0, None
    with pytest.raises(Opened) as opened:
        opening.open_experiments(option)
    assert opened.value.args[0] == ("unet", torch.device("cpu"), "bf16", True)


def test_an_injection_is_told_the_step_on_the_device_of_the_state():
    told = []

    class Told(NoInjection):
        def condition(self, x_t, t, mu, schedule):
            told.append(t)
            return x_t

    x_t = torch.zeros(2, 3, 8, 8, device="meta")
    Counted(PlugIn(None, "meta"), Told(), None).eps(x_t, 7)
    assert told[0].device == x_t.device and told[0].shape == (2,)


def test_a_run_says_only_what_is_unusual():
    class Of:
        device = torch.device("cpu")

        def __init__(self, denoiser):
            self.denoiser = denoiser

    assert opening._unusual(Of(small())) == {} == opening._unusual(Of(PlugIn(None, "cpu")))
    assert opening._unusual(Of(small("bf16"))) == {"precision": "bf16"}
    Of.device = torch.device("cuda")
    assert opening._unusual(Of(small("fp32"))) == {"precision": "fp32"}
