"""Stages are real work with FLOPs that add up, and ``dipddpm profile`` tells of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dipddpm import dip
from dipddpm.cli import main
from dipddpm.denoisers import open_denoiser
from dipddpm.errors import InputError
from dipddpm.experiments.recipes import dip_flops
from dipddpm.experiments.stages import dip_fit, stage, stage_names
from dipddpm.measure.instruments.flops import flops, flops_by_operator
from dipddpm.measure.instruments.operators import operators
from dipddpm.measure.instruments.roofline import convolution_rate, peak_rate, product_rate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def denoiser():
    return open_denoiser("unet")


@pytest.mark.parametrize("name", stage_names())
def test_every_stage_runs_and_counts(name, denoiser):
    built = stage(name, denoiser, "cpu", batch=1)
    assert flops(built.work) > 0 and built.items >= 1 and built.unit


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_flops_of_a_convolution_forward_and_backward(groups, stride):
    x, layer = torch.randn(2, 8, 10, 10, requires_grad=True), nn.Conv2d(8, 12, 3, stride, 1, groups=groups)
    forward = 2 * 2 * 12 * (10 // stride) ** 2 * 9 * 8 // groups  # two a multiply-add; bias counts as nothing
    assert flops(lambda: layer(x)) == forward
    assert flops(lambda: layer(x).sum().backward()) == 3 * forward
    assert flops(lambda: layer(x.detach()).sum().backward()) == 2 * forward, "no gradient of the input was asked for"


def test_flops_of_a_transposed_convolution():
    x, layer = torch.randn(2, 8, 5, 5, requires_grad=True), nn.ConvTranspose2d(8, 6, 2, 2)
    forward = 2 * 2 * 8 * 25 * 6 * 4
    assert flops(lambda: layer(x)) == forward and flops(lambda: layer(x).sum().backward()) == 3 * forward


def test_flops_of_batched_products_and_attention():
    a, b, c = torch.randn(3, 4, 5, requires_grad=True), torch.randn(3, 5, 6, requires_grad=True), torch.randn(3, 4, 1)
    assert flops(lambda: torch.baddbmm(c, a, b)) == 2 * 3 * 4 * 5 * 6
    assert flops(lambda: torch.baddbmm(c, a, b).sum().backward()) == 3 * 2 * 3 * 4 * 5 * 6
    q = torch.randn(2, 1, 16, 8)
    with torch.inference_mode():
        assert flops(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 2 * 16 * 16 * 8
    assert flops(lambda: a + 1) == 0


def test_flops_of_a_fit_are_those_of_its_networks(denoiser):
    """Each iteration is a forward and a backward pass, but for the gradient of the input; a last forward follows."""
    one = dip_flops(dip.architectures()["conv_decoder"], 32)["flops"]
    fit = flops(dip_fit(denoiser, CPU, 3, dip.architecture_class("conv_decoder"), iterations=2).work)
    assert 6.5 * 3 * one < fit <= 7 * 3 * one


def test_operators_of_known_work():
    x, w = torch.randn(4, 16, 32, 32), torch.randn(16, 16, 3, 3)

    def work():
        F.relu(F.conv2d(x, w))
        F.conv2d(x, w)

    found = {o.name: o for o in operators(work, "cpu", flops_by_operator(work))}
    convolution = found["aten::convolution"]
    assert convolution.calls == 2 and convolution.flops == 2 * 2 * 4 * 16 * 30 * 30 * 16 * 9
    assert not any("mkldnn" in name or "slow_conv" in name for name in found), "it owns what it calls"
    assert found["aten::relu"].flops is None and sum(o.share for o in found.values()) == pytest.approx(1)
    assert max(found.values(), key=lambda o: o.seconds).name == "aten::convolution"


def test_the_limit_is_the_faster_of_two_rates():
    rates = product_rate("cpu", torch.float32), convolution_rate("cpu", torch.float32)
    assert min(rates) > 1e8 and peak_rate("cpu", torch.float32) == max(rates)


def test_profile_prints_operators_and_the_roofline(capfd):
    assert main(["profile", "evaluation", "--device", "cpu", "--batch", "1", "--rows", "2"]) == 0
    out, err = capfd.readouterr()
    table, roofline, machine = out.strip().split("\n\n")
    assert len(table.splitlines()) == 2 + 2 + 1 and "convolution" in table and "others" in table
    assert "evaluation" in roofline and " %" in roofline and "matrix product" in machine and err == ""
    assert "executions" in roofline and "peak memory" in roofline and " MiB" in roofline
    assert "a warm-up of 1 before them is not timed" in machine and "microseconds" in machine
    assert "SM clock" not in roofline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dip"], "unknown stage 'dip': choose from dip-fit, training-step, "),
        (["dip-fit:skipp"], "unknown DIP architecture 'skipp': choose from conv_decoder, "),
        (["evaluation", "--batch", "0"], "a batch has at least one image; got 0"),
        (["evaluation", "--device", "abacus"], "--device 'abacus' is not available here: choose cpu, cuda or auto"),
        (["evaluation", "--device", "cuda:99"], "--device 'cuda:99' is not available here: choose cpu, cuda or auto"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(["profile", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_unknown_stage_as_a_library(denoiser):
    with pytest.raises(InputError, match="choose from"):
        stage("nonsense", denoiser, "cpu", 1)
