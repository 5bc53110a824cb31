"""Every stage gives the numbers of the CPU on a GPU. Both draw the same numbers, so that only the rounding differs.

A tolerance is what rounding explains, from the number of products in a sum and the growth of an ulp that is measured on
the CPU (``numerics``), and ``at_most`` in any case.
"""

from dataclasses import replace

import pytest
import torch
from numerics import apart
from on_gpu import DEVICE, PRODUCTS, assert_alike, needs_device

from dipddpm import training as updates
from dipddpm.data import open_dataset, to_uint8
from dipddpm.denoisers import open_denoiser
from dipddpm.dip import architectures
from dipddpm.experiments.arms import Arm
from dipddpm.experiments.fits import Fits
from dipddpm.experiments.profiles import profile
from dipddpm.experiments.restoration import Restoration
from dipddpm.extractors import open_extractor
from dipddpm.fitting import fit_dip, iteration
from dipddpm.fitting.plain import Plain, misfit
from dipddpm.injection import injection
from dipddpm.measure.instruments.timer import synchronised
from dipddpm.measure.store import Store
from dipddpm.metrics import metrics
from dipddpm.networks import build
from dipddpm.priors import Evidence, priors
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng
from dipddpm.sampling import SAMPLERS, WITH_ETA
from dipddpm.schedule import Schedule
from dipddpm.tasks import task, tasks
from dipddpm.training import Diverged, Training, TrainingSettings, initial_network
from dipddpm.training_loss import draw_batch

pytestmark = needs_device
TASKS = [name for name, kind in tasks().items() if kind.leak == "none"]
SEEDS = [3, 1, 4]


@pytest.fixture(scope="module")
def denoisers():
    """{device: the same network there}."""
    return {kind: open_denoiser("unet:early", kind, "fp32") for kind in ("cpu", DEVICE.type)}


def test_precisions_and_compilation_are_near_to_float32():
    x, exact = ImageRng(SEEDS, DEVICE).randn(3, 32, 32), open_denoiser("unet:early", DEVICE, "fp32")
    for precision, compiled, allowed in (("", False, 1e-2), ("bf16", False, 5e-2), ("bf16", True, 5e-2)):
        if compiled and DEVICE.type == "cpu":
            continue  # compiling takes minutes there
        other = open_denoiser("unet:early", DEVICE, precision, compiled)
        for t in (10, 999):
            assert apart(exact.eps(x, t), other.eps(x, t)) <= allowed * exact.eps(x, t).abs().max()


# Fits


def observed(images, device):
    return task("inpaint").observe(images, ImageRng(SEEDS)).to(device)


@pytest.mark.parametrize("shape", [(3, 32, 32), (7,), (32, 16, 16)])
def test_draws(shape):
    """The same bits, of which logarithm, sine and cosine make the same numbers to an ulp or two."""
    ours, theirs = ImageRng(SEEDS, DEVICE), ImageRng(SEEDS)
    for _ in range(2):
        assert torch.equal(ours.rand(*shape).cpu(), theirs.rand(*shape))
        assert apart(ours.randn(*shape).cpu(), theirs.randn(*shape)) <= 2e-6


def test_draws_of_generators_that_stand_at_different_places():
    """As those of several samples of an image do."""
    found = []
    for device in ("cpu", DEVICE):
        rng = ImageRng(SEEDS, device)
        rng.rand(5)
        found.append(rng.of_samples(3).rand(40).cpu())
    assert torch.equal(*found)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_a_fit_begins_alike(name, photographs):
    """Image, loss and gradient. Iterates are not compared: Adam's first step is as long where a gradient is rounding
    alone as elsewhere, so that two machines are apart by 0.2 after two of them."""
    images, losses, gradients = [], [], []
    for device in ("cpu", DEVICE):
        observation = observed(photographs, device)
        network, z = build(architectures()[name], ImageRng(SEEDS, device), 32)
        image = network(z)
        loss = misfit(image, observation, architectures()[name], 32)
        loss.sum().backward()
        images.append(image.detach().cpu())
        losses.append(loss.detach().cpu())
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in network.parameters()]))
    assert apart(*images) <= 1e-4 and torch.allclose(*losses, rtol=1e-4)
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[0].norm()


@pytest.mark.parametrize("name", sorted(architectures()))
def test_a_fit_gives_its_numbers_twice(name, photographs):
    """Bit for bit, from graphs too: nothing adds in an order that changes."""
    observation, kind = observed(photographs, DEVICE), architectures()[name]
    once, again = (fit_dip(kind, observation, ImageRng(SEEDS, DEVICE), iterations=[0, 2, 20]) for _ in range(2))
    assert once.last.device.type == DEVICE.type
    assert torch.equal(once.last, again.last) and torch.equal(once.ema, again.ema)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_fit_ends_alike(precision, photographs):
    """The mean PSNR of three images after 100 iterations, to what fits from other seeds differ by."""
    psnr = []
    for device in ("cpu", DEVICE):
        method, rng = Plain(precision=precision if device != "cpu" else "fp32"), ImageRng(SEEDS, device)
        kind, observation = architectures()["conv_decoder"], observed(photographs, device)
        mu = fit_dip(kind, observation, rng, iterations=[100], method=method).mu(100)
        psnr.append(metrics()["psnr"]()(mu.cpu(), photographs).mean().item())
    assert psnr[0] == pytest.approx(psnr[1], abs=1.0)


def test_graph_and_single_kernels_give_the_same_fit(photographs, monkeypatch):
    observation, kind = observed(photographs, DEVICE), architectures()["skip"]
    graph = fit_dip(kind, observation, ImageRng(SEEDS, DEVICE), iterations=[12]).last
    monkeypatch.setattr(iteration, "EAGER", 99)
    single = fit_dip(kind, observation, ImageRng(SEEDS, DEVICE), iterations=[12]).last
    assert torch.equal(graph, single)


# The denoiser and the samplers


@pytest.mark.parametrize("t", [20, 500, 980])
def test_one_evaluation(t, photographs, denoisers):
    """Weights that are rounded to the ten bits of TF32 move it by 7e-4 (on a CPU): TF32 that was left on is found."""
    x_t = 0.5 * photographs + 0.5 * ImageRng(SEEDS).randn(3, 32, 32)
    assert_alike(lambda x: denoisers[x.device.type].eps(x, t), x_t, operations=PRODUCTS, scale=2.0, at_most=2e-4)


@pytest.mark.parametrize("name", ["inpaint", "super_resolution", "denoise_25"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_sampler(sampler, name, photographs, denoisers):
    """Four evaluations from the middle of the schedule, with the noise that the sampler adds."""
    observation = task(name).observe(photographs, ImageRng(SEEDS))
    setting = Setting(4, injection("start"), 500, sampler, eta=0.5 if sampler in WITH_ETA else 0.0)

    def restored(mu):
        there = observation.to(mu.device)
        return restore(denoisers[mu.device.type], there, mu, setting, ImageRng(SEEDS, mu.device))[0]

    assert_alike(restored, photographs.flip(-1) * 0.9, operations=PRODUCTS, scale=2.0, at_most=1e-3, what=sampler)


def test_samples_from_noise(photographs, denoisers):
    """The step from T - 1 divides by sqrt(alpha_bar) = 1/158, so that more of the rounding is seen."""
    observation = task("inpaint").observe(photographs, ImageRng(SEEDS))
    x_hat = [
        restore(denoisers[device.type], observation.to(device), None, Setting(4), ImageRng(SEEDS, device))[0].cpu()
        for device in (torch.device("cpu"), DEVICE)
    ]
    assert apart(*x_hat) <= 2e-2


def test_samples_and_scores_agree(tmp_path):
    """Observation, tuning on validation images, restoration and scores, as a suite calls them."""
    scores = []
    for device in ("cpu", DEVICE.type):
        small = profile("smoke").override(["images=2", "validation_images=2", "trials=1"])
        memo = Store(tmp_path / device / str(len(scores)), device).measured
        fits = Fits(small.restoration, open_dataset("photo-patches"), memo, device=device, clock=synchronised)
        cell = Restoration(fits, open_denoiser("unet", device, "fp32")).cell("super_resolution", Arm.named("noise"), 5)
        scores.append(cell.scores["psnr"])
    assert scores[0] == pytest.approx(scores[1], abs=0.2)


# Data consistency


@pytest.mark.parametrize("name", TASKS)
def test_data_consistency(name, photographs):
    """A projection averages and copies up to 16 pixels, a proximal step adds two images."""
    observation = task(name).observe(photographs, ImageRng(SEEDS))
    for what in ("pinv", "weight", "refine", "consistent"):

        def compute(x, what=what):
            there = observation.to(x.device)
            made = {
                "pinv": lambda: there.pinv,
                "weight": there.weight,
                "refine": lambda: there.refine(x, 2.0, 3.0),
                "consistent": lambda: there.consistent(x),
            }
            return made[what]()

        assert_alike(compute, photographs.flip(0), operations=32, scale=2.0, at_most=1e-4, what=f"{name}: {what}")


# Priors


def prior_cases():
    """Every prior that is an image, on every task that it applies to."""
    observed = {name: task(name).observe(torch.zeros(1, 3, 32, 32), ImageRng([0])) for name in TASKS}
    return [
        pytest.param(kind(), name, id=f"{kind.name}-{name}")
        for kind in priors().values()
        for name in TASKS
        if kind.injection.uses_mu and kind().applies(observed[name])
    ]


@pytest.mark.parametrize(("made", "name"), prior_cases())
def test_a_prior(made, name, photographs, denoisers):
    observation = task(name).observe(photographs, ImageRng(SEEDS))

    def mu(y):
        there, device = replace(observation.to(y.device), y=y), y.device
        x_0, dip = photographs.to(device), (photographs.flip(-1) * 0.5).to(device)
        evidence = Evidence(there, dip, x_0, denoisers[device.type])
        return made.mu(evidence.shown_to(made))

    network = made.evaluations or made.learned
    operations, at_most = (PRODUCTS, 2e-3) if network else (256, 1e-4)
    assert_alike(mu, observation.y, operations=operations, scale=2.0, at_most=at_most, what=made.name)


# Scores


@pytest.mark.parametrize(("name", "at_most"), [("psnr", 1e-3), ("ssim", 1e-4), ("st_lpips", 1e-4)])
def test_a_metric(name, at_most, photographs):
    """A mean over 3 x 32 x 32 pixels, windows of 11 x 11, or features. PSNR is near 20, the others are at most 1."""
    x_hat = (photographs + 0.1 * ImageRng(SEEDS).randn(3, 32, 32)).clamp(-1, 1)
    metric, scale = metrics()[name](), 20.0 if name == "psnr" else 1.0
    compute = lambda x: metric(x, photographs.to(x.device))  # noqa: E731
    assert_alike(compute, x_hat, operations=3 * 32 * 32, scale=scale, at_most=at_most, what=name)


def test_every_metric_is_compared():
    assert set(metrics()) == {"psnr", "ssim", "st_lpips"}, "a new metric needs a tolerance of its own above"


def test_features(photographs):
    pixels = to_uint8(photographs)
    features = [open_extractor("embedded64", device).features(pixels) for device in ("cpu", DEVICE)]
    assert features[1].shape == (3, 64)
    assert apart(*features) <= 1e-4 * max(1.0, features[0].abs().max().item())


# Training

LR, WARMUP = 1e-3, 2


def trained(device, updates):
    """Losses of some updates of a small network, and the network with the gradient of the last."""
    model = initial_network({"size": 16, "channels": (16, 32), "attention_at": (8,)}, 0)
    with torch.no_grad():  # the shipped initialisation answers 0, and passes no gradient on to what is below
        model.head[2].weight.copy_(0.1 * torch.randn(3, 16, 3, 3, generator=torch.Generator().manual_seed(0)))
    images = open_dataset("photo-patches", size=16).sample("train", 8)
    one = Training(model, Schedule.linear(), TrainingSettings(9, batch=8, lr=LR, warmup=WARMUP), device=device)
    return [float(one.update(images)) for _ in range(updates)], one.model


def test_a_batch_is_drawn_alike():
    """The same images, mirrored alike, at the same steps; noise to the rounding of logarithm and sine."""
    images = open_dataset("photo-patches", size=16).sample("train", 50)
    for step in (0, 6, 1000):
        here = draw_batch(images, Schedule.linear(), 48, 0, step)
        for there in (images, images.to(DEVICE)):
            batch = draw_batch(there, Schedule.linear(), 48, 0, step, device=DEVICE)
            assert all(part.device.type == DEVICE.type for part in batch[:3])
            assert torch.equal(batch.t.cpu(), here.t) and apart(batch.x_0.cpu(), here.x_0) <= 1e-6
            assert apart(batch.eps.cpu(), here.eps) <= 1e-5


def test_an_update_that_is_no_number_changes_no_weight(monkeypatch):
    losses, model = updates.ddpm_loss, initial_network({"size": 16, "channels": (16, 32), "attention_at": (8,)}, 0)
    images = open_dataset("photo-patches", size=16).sample("train", 8)
    one = Training(model, Schedule.linear(), TrainingSettings(9, batch=8, lr=LR, warmup=WARMUP), device=DEVICE)
    one.update(images)
    before = {name: value.clone() for name, value in one.state().items()}
    monkeypatch.setattr(updates, "ddpm_loss", lambda *arguments: losses(*arguments) * float("nan"))
    with pytest.raises(Diverged, match="the loss became nan at update 1"):
        for _ in range(2):  # a GPU is looked at one update later
            one.update(images)
    after = one.state()
    kept = [name for name in before if not name.startswith("ema.")]
    assert one.done == 1 and all(torch.equal(before[name], after[name]) for name in kept)


def test_a_training_step():
    """Adam's first step has the length of the learning rate wherever the gradient is more than rounding."""
    (losses, here), (others, there) = trained("cpu", 1), trained(DEVICE, 1)
    assert others == pytest.approx(losses, rel=1e-5)
    pairs = [(p, q.cpu(), p.grad, q.grad.cpu()) for p, q in zip(here.parameters(), there.parameters(), strict=True)]
    largest = max(g.abs().max().item() for _, _, g, _ in pairs)
    step, known = LR / WARMUP, 0
    for p, q, g, other in pairs:
        assert apart(g, other) <= 1e-4 * largest
        assert apart(p, q) <= 2.01 * step, "no weight moves by more than a step, whatever the sign of its gradient"
        sure = g.abs() > 1e-2 * largest  # a hundred times what the gradients may differ by
        known += int(sure.sum())
        assert not sure.any() or apart(p[sure], q[sure]) <= 1e-2 * step
    assert known > 1000


def test_a_few_training_steps():
    """Later weights are compared by what they do: Adam makes whole steps of what is rounding in a gradient."""
    (losses, here), (others, there) = trained("cpu", 3), trained(DEVICE, 3)
    assert others == pytest.approx(losses, rel=1e-3)
    x, t = ImageRng(SEEDS).randn(3, 16, 16), torch.tensor([10, 400, 900])
    with torch.no_grad():
        assert apart(here(x, t), there(x.to(DEVICE), t.to(DEVICE)).cpu()) <= 1e-2
