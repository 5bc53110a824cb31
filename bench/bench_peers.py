"""How much faster is each stage than what one would run instead? In one process, in turns, as a ratio.

``pytest bench -k peers``, with the extra ``[peers]``. The peers are run as their own documentation does; a network that
is timed against ours has the same number of FLOPs, to 5 %.
"""

import copy
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from dipddpm.data import to_float
from dipddpm.denoisers import open_denoiser
from dipddpm.denoisers.unet import UNetDenoiser
from dipddpm.device import products
from dipddpm.dip import DeepImagePrior
from dipddpm.dip.skip import SkipNet
from dipddpm.fitting import fit_dip
from dipddpm.injection.none import NoInjection
from dipddpm.measure.instruments.flops import flops
from dipddpm.measure.instruments.paired_timing import median_ratio, paired
from dipddpm.measure.record import Measure, Record
from dipddpm.metrics.psnr import Psnr
from dipddpm.metrics.ssim import Ssim
from dipddpm.rng import ImageRng
from dipddpm.sampling import sample_ddim
from dipddpm.schedule import Schedule
from dipddpm.tasks.denoise import Denoise25
from dipddpm.training import Training, TrainingSettings
from dipddpm.unet import UNet

# The peers are imported where they are run: that takes seconds, and most sessions ask other questions.
if any(find_spec(peer) is None for peer in ("diffusers", "deepinv", "denoising_diffusion_pytorch")):
    pytest.skip("needs pip install 'dipddpm[peers]'", allow_module_level=True)

PAIRS = 7
RIVALS = ("diffusers", "deepinv", "denoising-diffusion-pytorch", "torch-fidelity", "scikit-image")
WIDTHS = range(12, 65, 4)
CIFAR10 = {  # the config.json of google/ddpm-cifar10-32, but for its widths
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "downsample_padding": 0,
    "attention_head_dim": None, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "norm_num_groups": 32,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip


class TheirDecoder(DeepImagePrior):
    """deepinv's ConvDecoder as one of our architectures, so that both fit the very same network."""

    name = "deepinv ConvDecoder"
    source = "deepinv.models.ConvDecoder"
    input_noise = 0.0  # as deepinv's own DeepImagePrior

    def __init__(self, size=32, width=None):
        import deepinv

        super().__init__(size, width)
        self.net = deepinv.models.ConvDecoder((3, size, size), in_size=(4, 4), layers=4, channels=64)

    def z_shape(self):
        return 64, 4, 4

    def layers(self, z):
        return self.net(z)


class Stages:
    """What is timed, by stage: ``ours`` and its rivals, each as (work, items it does)."""

    def __init__(self, device):
        self.device = device
        cuda = device.type == "cuda"
        self.images, self.iterations = (256, 100) if cuda else (64, 20)  # a fit has a hundred and more
        self.batch, self.steps = (512, 50) if cuda else (32, 5)

    def observed(self, count):
        x_0 = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        rng = ImageRng(range(count), self.device)
        return Denoise25().observe(x_0, ImageRng(range(count))).to(self.device), rng

    def fit(self, architecture, durations, images=None):
        observation, rng = self.observed(images or self.images)
        return lambda: fit_dip(architecture, observation, rng, iterations=durations)

    def dip_against_a_plain_loop(self):
        observation, _ = self.observed(self.images)

        def plain():
            """The loop of the original code: one image, one network, one optimiser at a time."""
            for y in observation.y[:2].split(1):
                net = SkipNet().to(self.device)
                z = 0.1 * torch.rand(1, *net.z_shape(), device=self.device)
                optimizer, average = torch.optim.Adam(net.parameters(), lr=net.lr), None
                for _ in range(self.iterations):
                    optimizer.zero_grad()
                    out = net(z + torch.randn_like(z) / 30)
                    average = out.detach() if average is None else average * 0.99 + out.detach() * 0.01
                    F.mse_loss(out, y).backward()
                    optimizer.step()

        work = self.fit(SkipNet, [self.iterations])
        return (work, self.images), {"plain loop, same network": (plain, 2)}

    def dip_against_deepinv(self):
        import deepinv

        observation, _ = self.observed(2)
        physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(observation.sigma), device=self.device)

        def theirs():
            for y in observation.y.split(1):
                net = TheirDecoder().net.to(self.device)
                dip = deepinv.models.DeepImagePrior(net, (64, 4, 4), iterations=self.iterations)
                dip(y, physics)

        work = self.fit(TheirDecoder, [self.iterations])
        return (work, self.images), {"deepinv DeepImagePrior": (theirs, 2)}

    def durations_from_one_trajectory(self):
        grid = [self.iterations // 2 * k for k in (1, 2, 3)]

        def fit(durations):
            return self.fit(SkipNet, durations, self.images // 8)

        def separately():
            for duration in grid:
                fit([duration])()

        return (fit(grid), 1), {"longest fit alone": (fit(grid[-1:]), 1), "separate fits": (separately, 1)}

    @cache  # noqa: B019
    def unets(self):
        """Our U-Net at its default size and the peers' at the width that has as many FLOPs."""
        import denoising_diffusion_pytorch as lucidrains
        import diffusers

        ours = UNet(size=32, channels=(32, 64, 96), blocks=1)
        target = forward_flops(lambda m, x, t: m(x, t), ours)

        def unet2d(width):
            return diffusers.UNet2DModel(
                sample_size=32, in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=4,
                block_out_channels=(width, 2 * width, 3 * width), attention_head_dim=3 * width,
                down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            )  # fmt: skip

        def lucid(width):
            return lucidrains.Unet(dim=width, dim_mults=(1, 2, 3))

        theirs = {
            "diffusers UNet2DModel": equal_flops(unet2d, lambda m, x, t: m(x, t).sample, target),
            "denoising-diffusion-pytorch Unet": equal_flops(lucid, lambda m, x, t: m(x, t), target),
        }
        return ours.to(self.device), {name: (m.to(self.device), call) for name, (m, call) in theirs.items()}

    def training_step(self):
        """Our step also draws its batch, checks for NaN and averages the weights; that of the peers is only the
        update."""
        ours, theirs = self.unets()
        schedule, pixels = Schedule.linear(), torch.randint(0, 256, (self.batch, 3, 32, 32), dtype=torch.uint8)
        training = Training(
            copy.deepcopy(ours), schedule, TrainingSettings(10**6, batch=self.batch), device=self.device
        )
        x_0 = to_float(pixels).to(self.device)
        t, eps = torch.randint(0, 1000, (self.batch,), device=self.device), torch.randn_like(x_0)
        noised = schedule.q_sample(x_0, t, eps)

        def step(model, call):
            optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

            def work():
                optimizer.zero_grad(set_to_none=True)
                F.mse_loss(call(model, noised, t), eps).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

            return work, self.batch

        rivals = {name: step(copy.deepcopy(model), call) for name, (model, call) in theirs.items()}
        return (lambda: training.update(pixels), self.batch), rivals

    def training_step_in_bf16(self):
        """Times what our step does beyond gradient and optimiser step: draws, the check for NaN, the average of the
        weights. Both sides train the same network."""
        ours, _ = self.unets()
        schedule, pixels = Schedule.linear(), torch.randint(0, 256, (self.batch, 3, 32, 32), dtype=torch.uint8)
        compiled = self.device.type == "cuda"  # compiling for a CPU takes minutes
        settings = TrainingSettings(10**6, batch=self.batch, precision="bf16", compiled=compiled)
        training = Training(copy.deepcopy(ours), schedule, settings, device=self.device)
        model = copy.deepcopy(ours).to(memory_format=torch.channels_last).train()
        network = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        x_0 = to_float(pixels).to(self.device)
        t, eps = torch.randint(0, 1000, (self.batch,), device=self.device), torch.randn_like(x_0)
        noised = schedule.q_sample(x_0, t, eps).contiguous(memory_format=torch.channels_last)

        def bare():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = F.mse_loss(network(noised, t).float(), eps)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return (lambda: training.update(pixels), 1), {"bare update, same network, compiled": (bare, 1)}

    def sampling(self):
        import diffusers

        ours, theirs = self.unets()
        denoiser = UNetDenoiser.of(copy.deepcopy(ours), Schedule.linear(), NoInjection(), "random", self.device)
        unet2d, call = theirs["diffusers UNet2DModel"]
        unet2d = copy.deepcopy(unet2d).eval()
        scheduler = diffusers.DDIMScheduler(1000, clip_sample=True)
        x_T = torch.randn(self.batch, 3, 32, 32, device=self.device)

        def theirs_ddim():
            scheduler.set_timesteps(self.steps)
            x = x_T
            with torch.no_grad(), products(denoiser.precision):
                for t in scheduler.timesteps:
                    x = scheduler.step(call(unet2d, x, t.to(self.device)), t, x).prev_sample

        ddim, bare = self.ddim(denoiser, x_T), self.evaluations(denoiser, x_T)
        rivals = {"diffusers DDIM, equal FLOPs": (theirs_ddim, 1), "bare evaluations of our U-Net": (bare, 1)}
        return (ddim, 1), rivals

    def sampling_in_bf16(self):
        """The same network of diffusers on both sides, of google/ddpm-cifar10-32's size on a GPU: ours is compiled."""
        import diffusers

        cuda = self.device.type == "cuda"  # compiling for a CPU takes minutes
        width, batch = (128, self.batch) if cuda else (32, 2)
        unet = diffusers.UNet2DModel(**CIFAR10, block_out_channels=(width, 2 * width, 2 * width, 2 * width))
        scheduler = diffusers.DDIMScheduler(1000, clip_sample=True)
        with tempfile.TemporaryDirectory() as folder:
            diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(1000, clip_sample=True)).save_pretrained(folder)
            denoiser = open_denoiser(f"diffusers:{folder}", self.device, "bf16", compiled=cuda)
            theirs = diffusers.DDPMPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16, low_cpu_mem_usage=False)
        unet = theirs.unet.to(self.device).eval()
        x_T = torch.randn(batch, 3, 32, 32, device=self.device)

        def theirs_ddim():
            scheduler.set_timesteps(self.steps)
            x = x_T.to(torch.bfloat16)
            with torch.no_grad():
                for t in scheduler.timesteps:
                    x = scheduler.step(unet(x, t).sample, t, x).prev_sample

        ddim, bare = self.ddim(denoiser, x_T), self.evaluations(denoiser, x_T)
        return (ddim, 1), {
            "diffusers DDIM, same network, bf16": (theirs_ddim, 1),
            "bare evaluations, compiled": (bare, 1),
        }

    def ddim(self, denoiser, x_T):
        """Our DDIM from x_T: as many steps as there are evaluations in :meth:`evaluations`."""
        steps = denoiser.schedule.steps(self.steps, 999)
        return lambda: sample_ddim(denoiser, x_T, steps, ImageRng(range(len(x_T)), self.device))

    def evaluations(self, denoiser, x_T):
        """Nothing but the network."""

        def bare():
            for t in range(self.steps):
                denoiser.eps(x_T, t)

        return bare

    def metrics(self):
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity

        x, y = (torch.rand(1000, 3, 32, 32, device=self.device) * 2 - 1 for _ in range(2))
        a, b = (((image[:50] + 1) / 2).permute(0, 2, 3, 1).cpu().numpy() for image in (x, y))

        def loop():
            for one, other in zip(a, b, strict=True):
                peak_signal_noise_ratio(one, other, data_range=1)
                structural_similarity(
                    one, other, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False, full=True,
                )  # fmt: skip

        return (lambda: (Psnr()(x, y), Ssim()(x, y)), 1000), {"scikit-image loop": (loop, 50)}

    def features(self):
        """Both on the same extractor, at the batch size that each has by default."""
        from torch_fidelity.utils import get_featuresdict_from_dataset

        from dipddpm.extractors.embedded64 import Embedded64

        pixels = torch.randint(0, 256, (1000, 3, 32, 32), dtype=torch.uint8)
        extractor, cuda = Embedded64().to(self.device), self.device.type == "cuda"

        class Photographs(Dataset):
            def __len__(self):
                return len(pixels)

            def __getitem__(self, index):
                return pixels[index]

        def theirs():
            get_featuresdict_from_dataset(Photographs(), extractor, 64, cuda, save_cpu_ram=True, verbose=False)

        return (lambda: extractor.features(pixels), 1000), {"torch-fidelity, same extractor": (theirs, 1000)}


def forward_flops(call, model):
    """FLOPs of one forward pass for one image."""
    with torch.no_grad():
        return flops(lambda: call(model, torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)))


def equal_flops(build, call, target):
    """The model of a width whose FLOPs are nearest to ``target``, within 5 %."""
    found = {width: forward_flops(call, build(width)) for width in WIDTHS}
    best = min(found, key=lambda width: abs(found[width] - target))
    assert abs(found[best] / target - 1) < 0.05, {width: count / target for width, count in found.items()}
    return build(best), call


PARTS = ("observed", "fit", "unets", "ddim", "evaluations")
STAGES = [name for name in vars(Stages) if not name.startswith("_") and name not in PARTS]


def compare_with_peers(stage, device, versions):
    """One stage of ours and what one would run instead, in turns: their time over ours, pair by pair."""
    (ours, items), rivals = getattr(Stages(device), stage)()
    found = {}
    for name, (work, their_items) in rivals.items():
        ratios, seconds = paired(work, ours, pairs=PAIRS)
        found[name] = {"ratios": [ratio * items / their_items for ratio in ratios], "ours": list(seconds)}
    return {"items": items, "rivals": found}


@pytest.mark.parametrize("stage", STAGES)
def bench_peers(stage, asked_for, experiments, run_once, record):
    """One stage of ours and what one would run instead, in turns, on the same device."""
    call = {"stage": stage, "device": experiments.device, "versions": {name: version(name) for name in RIVALS}}
    found = experiments.memo(compare_with_peers, call, run=run_once).value
    for name, rival in found["rivals"].items():
        middle = median_ratio(rival["ratios"], [1.0])
        times = Measure("x", True, "timing", rival["ratios"], interval=middle[1:])
        record(
            Record(
                suite="peers", group=stage.replace("_", " "), arm=name, role="stage", budget=0,
                axes={"at once": found["items"]}, seconds={},
                measures={"their time over ours": times, "our seconds": Measure("s", False, "timing", rival["ours"])},
            )
        )  # fmt: skip
