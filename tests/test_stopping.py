"""Stopping rules on trajectories whose best iterate is known."""

import pytest
import torch

from dipddpm.errors import InputError
from dipddpm.stopping import stopping_rule_class, stopping_rules

BUDGET = 200


def trajectory(turn):
    """Outputs that settle until iteration ``turn`` of each image and then wander ever more."""
    rng = torch.Generator().manual_seed(0)
    for i in range(1, BUDGET + 1):
        distance = torch.tensor([abs(i - t) / BUDGET for t in turn])[:, None, None, None]
        yield i, distance * torch.randn(len(turn), 3, 8, 8, generator=rng)


def watch(name, turn, x_0=None):
    rule = stopping_rule_class(name)(BUDGET, x_0)
    for i, output in trajectory(turn):
        rule.see(i, output)
    return rule


@pytest.mark.parametrize("name", sorted(stopping_rules()))
def test_contract(name):
    rule = watch(name, [50, 120], torch.zeros(2, 3, 8, 8))
    assert rule.mu.shape == (2, 3, 8, 8) and rule.charged.shape == (2,)
    assert ((rule.charged >= 1) & (rule.charged <= BUDGET)).all()
    alone = watch(name, [50], torch.zeros(1, 3, 8, 8))
    assert alone.charged.shape == (1,)


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


def test_oracle_keeps_the_best_and_says_that_it_leaks():
    x_0 = torch.zeros(2, 3, 8, 8)
    rule = watch("oracle", [50, 120], x_0)
    assert rule.charged.tolist() == [50, 120] and torch.equal(rule.mu, x_0)
    assert rule.leak == "clean-target"


def test_unknown_rule():
    with pytest.raises(InputError, match="unknown stopping rule 'never': choose from es-wmv, oracle"):
        stopping_rule_class("never")
