"""Stopping rules on trajectories whose best iterate is known."""

import numpy as np
import pytest
import torch

from dipddpm.errors import InputError
from dipddpm.stopping import stopping_rule_class, stopping_rules
from dipddpm.stopping.self_validation import Autoencoders

BUDGET = 200


def trajectory(turn):
    """Outputs that settle until iteration ``turn`` of each image and then wander ever more."""
    rng = torch.Generator().manual_seed(0)
    for i in range(1, BUDGET + 1):
        distance = torch.tensor([abs(i - t) / BUDGET for t in turn])[:, None, None, None]
        yield i, distance * torch.randn(len(turn), 3, 8, 8, generator=rng)


def watch(name, turn, x_0=None, until=BUDGET):
    rule = stopping_rule_class(name)(BUDGET, x_0)
    for i, output in trajectory(turn):
        if i <= until:
            rule.see(i, output)
    return rule


def enough(name):
    """Iterations that show what a rule promises: few of one that takes long."""
    return 70 if stopping_rule_class(name).trains else BUDGET


@pytest.mark.parametrize("name", sorted(stopping_rules()))
def test_contract(name):
    rule = watch(name, [50, 120], torch.zeros(2, 3, 8, 8), enough(name))
    assert rule.mu.shape == (2, 3, 8, 8) and rule.charged.shape == (2,)
    assert ((rule.charged >= 1) & (rule.charged <= BUDGET)).all()
    alone = watch(name, [50], torch.zeros(1, 3, 8, 8), enough(name))
    assert alone.charged.shape == (1,)


@pytest.mark.parametrize("name", sorted(stopping_rules()))
def test_an_image_is_decided_by_its_own_outputs(name):
    """Whatever the neighbours are, and alone to rounding: what is kept is an output, and so the same or another one."""
    outputs = [output for _, output in trajectory([50, 120, 80])][: enough(name)]
    watched = {}
    for images in ([0, 1], [0, 2], [0]):
        rule = stopping_rule_class(name)(BUDGET, torch.zeros(len(images), 3, 8, 8))
        for i, output in enumerate(outputs, 1):
            rule.see(i, output[images])
        watched[len(images), images[-1]] = rule
    pair, other, alone = watched.values()
    assert torch.equal(pair.mu[0], other.mu[0]) and pair.charged[0] == other.charged[0]
    assert torch.equal(pair.mu[0], alone.mu[0]) and pair.charged[0] == alone.charged[0]


@pytest.mark.parametrize("name", sorted(stopping_rules()))
def test_watching_leaves_the_global_generator_alone(name):
    state = torch.get_rng_state()
    watch(name, [50], torch.zeros(1, 3, 8, 8), enough(name))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["es-emv", "self_validation"])
def test_a_rule_stops_after_the_quiet_point_and_charges_its_patience(name):
    rule = watch(name, [50, 120])
    for charged, turn in zip(rule.charged.tolist(), [50, 120], strict=True):
        assert turn - rule.window <= charged - rule.patience <= turn + 2 * rule.window
    assert rule.mu.abs().mean() < 0.1


def test_es_wmv_stops_after_the_quiet_point_and_charges_its_patience():
    rule = watch("es-wmv", [50, 120])
    window, patience = rule.window, rule.patience
    for charged, turn in zip(rule.charged.tolist(), [50, 120], strict=True):
        assert turn + patience <= charged <= turn + patience + window
    assert rule.mu.abs().mean() < 0.1  # an iterate near the quiet point was kept, not the last one


def test_es_wmv_that_never_triggers_is_charged_everything():
    rule = stopping_rule_class("es-wmv")(BUDGET, None)
    for i in range(1, BUDGET + 1):
        rule.see(i, torch.full((1, 3, 4, 4), 1 / i))
    assert rule.charged.item() == BUDGET


def test_es_wmv_keeps_the_newest_output_until_its_window_is_full():
    rule = stopping_rule_class("es-wmv")(3, None)
    assert rule.window > 3
    for i, output in zip(range(3), (output for _, output in trajectory([60, 90])), strict=False):
        rule.see(i + 1, output)
        assert torch.equal(rule.mu, output)
    assert rule.charged.tolist() == [3, 3]


def test_es_wmv_against_a_variance_computed_at_once():
    rule, outputs = stopping_rule_class("es-wmv")(BUDGET, None), []
    for i, output in trajectory([60]):
        outputs.append(output)
        rule.see(i, output)
    variances = {
        i: torch.stack(outputs[i - rule.window : i]).var(0, correction=0).mean().item()
        for i in range(rule.window, int(rule.charged.item()) + 1)
    }
    assert torch.equal(rule.mu, outputs[min(variances, key=variances.get) - 1])


def smooth_and_bright():
    """Outputs near 1 that move less and less until iteration 60, by 3e-4 to 3e-6, and then more again."""
    shade = 0.01 * torch.linspace(0, 1, 8)[:, None] * torch.ones(1, 3, 8, 8)
    for i in range(1, BUDGET + 1):
        yield i, 0.98 + shade + (3e-6 + 5e-6 * abs(i - 60)) * (-1) ** i


def test_es_wmv_is_exact_on_smooth_images_near_1():
    """In single precision the sums of squares have an error of 1e-7 or so, and the variance here is 1e-11 and less."""
    rule, outputs, variances = stopping_rule_class("es-wmv")(BUDGET, None), [], {}
    for i, output in smooth_and_bright():
        outputs.append(output.double().numpy())
        variance = rule.score(i, output)
        if i >= rule.window:
            variances[i] = np.stack(outputs[i - rule.window :]).var(0).mean()
            assert variance.item() > 0 and variance.item() == pytest.approx(variances[i], rel=1e-3)
    rule = stopping_rule_class("es-wmv")(BUDGET, None)
    for i, output in smooth_and_bright():
        rule.see(i, output)
    best = min(variances, key=variances.get)
    assert rule.charged.item() == best + rule.patience
    assert np.array_equal(rule.mu.double().numpy(), outputs[best - 1])


def test_es_emv_by_hand():
    """Two numbers an image, against the recursion in plain Python."""
    rule = stopping_rule_class("es-emv")(100, None)
    assert (rule.window, rule.patience, rule.alpha) == (5, 20, 1 / 3)
    sequence = [(0.0, 0.0), (0.9, -0.3), (0.3, 0.3), (0.5, 0.1), (0.4, 0.2), (0.4, 0.25), (0.45, 0.2), (-0.8, 0.9)]
    average, variance, scores = list(sequence[0]), 0.0, {}
    for i, values in enumerate(sequence, 1):
        output = torch.tensor(values).reshape(1, 1, 1, 2)
        if i > 1:
            away = [x - a for x, a in zip(values, average, strict=True)]
            average = [a + d / 3 for a, d in zip(average, away, strict=True)]
            variance = 2 / 3 * (variance + 1 / 3 * sum(d * d for d in away) / 2)
        if i > 5:
            scores[i] = variance
        rule.see(i, output)
        if scores:
            kept = sequence[min(scores, key=scores.get) - 1]
            assert rule._variance.item() == pytest.approx(variance, rel=1e-6)
            assert rule.mu.flatten().tolist() == pytest.approx(kept)
        else:
            assert torch.equal(rule.mu, output)
    assert min(scores, key=scores.get) == 7 and rule.charged.item() == 8


def test_the_published_weight_of_es_emv_is_that_of_a_budget_of_380():
    assert stopping_rule_class("es-emv")(380, None).alpha == pytest.approx(0.1)


def test_every_image_begins_with_the_same_autoencoder():
    size, images = 32, 3
    torch.manual_seed(1)
    several = Autoencoders(images, size)
    torch.manual_seed(2)
    one = Autoencoders(1, size)
    x = torch.rand(4, 1, 3, size, size)
    y = several(x.expand(-1, images, -1, -1, -1))
    assert y.shape == (4, images, 3, size, size) and y.min() >= 0 and y.max() <= 1
    for i in range(images):
        torch.testing.assert_close(y[:, i], one(x)[:, 0])
    # three halvings to 4 x 4 by 3 x 3 kernels, four linear layers on the 16 numbers, and the way back; norms between
    encoder, decoder = 9 * (3 * 16 + 16 * 32 + 32 * 1), 9 * (1 * 32 + 32 * 16 + 16 * 3)
    norms = 2 * (16 + 32 + 1) + 2 * (32 + 16 + 3)
    assert sum(p.numel() for p in one.parameters()) == encoder + 4 * 16**2 + decoder + norms


def test_the_autoencoder_learns_what_it_is_shown():
    """A still image is reconstructed far better than by the grey that an untrained one answers."""
    rule = stopping_rule_class("self_validation")(100, None)
    still = torch.linspace(-0.8, 0.8, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    errors = []
    for i in range(1, 101):
        rule.see(i, still)
        errors.append(rule._least.item())
    assert all(error == float("inf") for error in errors[: rule.compares_from - 1])
    assert min(errors) < 0.3 * (still / 2).square().mean()


def test_who_trains_while_watching():
    assert {name for name, rule in stopping_rules().items() if rule.trains} == {"self_validation"}


def test_oracle_keeps_the_best_and_says_that_it_leaks():
    x_0 = torch.zeros(2, 3, 8, 8)
    rule = watch("oracle", [50, 120], x_0)
    assert rule.charged.tolist() == [50, 120] and torch.equal(rule.mu, x_0)
    assert rule.leak == "clean-target"


def test_unknown_rule():
    with pytest.raises(
        InputError, match="unknown stopping rule 'never': choose from es-emv, es-wmv, oracle, self_validation"
    ):
        stopping_rule_class("never")
