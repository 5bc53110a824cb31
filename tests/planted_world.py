"""A planted world: experiments whose true answer is known, judged by the very code that judges a run.

``python tests/planted_world.py [RUN.json GROUP]`` prints the two tables of docs/protocol.md: how often the verdict is
wrong and which effect it finds, and how often intervals hold the truth. With a run, the differences between photographs
have the covariance that they have in that group of it.

A world says how every arm does on average, and how photographs differ. An experiment draws test and validation
photographs, and is held to the rule in one of two ways, which a test keeps equal: written down as the ``Run`` that a
session would have made, or as an array, thousands at a time, through the same ``inference`` and ``decide``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from dipddpm.measure.record import Measure, Record, Run
from dipddpm.measure.statistics import inference
from dipddpm.report.comparisons import RIVALS, Comparisons
from dipddpm.report.verdict import decide, won

JUDGES = ("PSNR", "perception")
VALIDATION = 20  # photographs
AT_ONCE = 200  # experiments that are held in memory
RESAMPLES = 999
EVERYWHERE = ((1.0, 1.0), (1.0, 1.0))
"""Effects by judge, on the contrasts with the best control and the best part."""


@dataclass(frozen=True)
class World:
    """What is true of A arms by two judges. More is better throughout: dB, and hundredths of ST-LPIPS below 0.1.

    Attributes:
        roles: (A,) ``treatment``, ``control`` or ``part``; costs: (A,) seconds per image.
        seen: (2, A), whether a judge sees the arm.
        levels: (2, A) means over all photographs there are.
        factor: (K, 2 A). A photograph differs from the levels by K standard normal numbers times this matrix.
    """

    roles: np.ndarray
    costs: np.ndarray
    seen: np.ndarray
    levels: np.ndarray
    factor: np.ndarray

    def with_effects(self, effects, alike: bool = False) -> World:
        """The world where the best treatment is so much better than the best rivals that cost no more.

        Args:
            effects: by judge and role of the rival, as :data:`EVERYWHERE`.
            alike: make all arms of a role alike, so that the effect is the same whichever is tested. Otherwise they
                keep their distances, and validation photographs may choose one that is not the best.
        """
        levels = np.zeros_like(self.levels) if alike else self.levels.copy()
        for j, by_rival in enumerate(effects):
            treatments = np.flatnonzero((self.roles == "treatment") & self.seen[j])
            best = treatments[self.levels[j, treatments].argmax()]
            levels[j, self.roles == "treatment"] -= levels[j, best]
            for role, effect in zip(RIVALS, by_rival, strict=True):
                mine = self.roles == role
                able = mine & self.seen[j] & (self.costs <= self.costs[best])
                levels[j, mine] -= levels[j, able].max() + effect
        return replace(self, levels=levels)

    def draw(self, rng: np.random.Generator, experiments: int, n: int, validation: int = VALIDATION):
        """Experiments: (experiments, 2, A, n) means of test photographs, and (experiments, 2, A) validation scores."""
        shape = (experiments, *self.levels.shape)
        test = rng.normal(size=(experiments, n, len(self.factor))) @ self.factor
        scores = rng.normal(size=(experiments, len(self.factor))) @ self.factor / validation**0.5
        return self.levels[..., None] + test.swapaxes(1, 2).reshape(*shape, n), self.levels + scores.reshape(shape)


def made_up(treatments: int = 16, controls: int = 6, parts: int = 6) -> World:
    """A world like that of 64 CIFAR JPEGs: a paired difference between roles has a standard deviation of 1.4 dB.

    Images differ by 3 dB, which all arms share. What is left of an arm is shared by its role, with a standard deviation
    of 0.8 dB, and its own, of 0.6 dB. By the second judge it is the same in hundredths of ST-LPIPS; what is left of an
    arm correlates between judges with 0.5. The best arms of a role are close to each other, and one control is better
    than all others and too dear to be a rival.
    """
    roles = np.array(["treatment"] * treatments + ["control"] * (controls + 1) + ["part"] * parts)
    arms = len(roles)
    same_role = roles[:, None] == roles[None, :]
    of_arms = 0.8**2 * same_role + 0.6**2 * np.eye(arms)
    of_judges = np.array([[1.0, 0.5], [0.5, 1.0]])
    covariance = np.kron(of_judges, of_arms) + np.kron([[9.0, 4.0], [4.0, 9.0]], np.ones((arms, arms)))
    behind = np.concatenate([0.15 * np.arange(count) for count in (treatments, controls)])
    levels = -np.concatenate([behind, [-2.0], 0.3 * np.arange(parts)])
    costs = np.where(roles == "treatment", 1.0, np.where(roles == "part", 0.9, 0.5))
    costs[treatments + controls] = 3.0
    factor = np.linalg.cholesky(covariance).T
    return World(roles, costs, np.ones((2, arms), dtype=bool), np.stack([levels, levels]), factor)


def fitted(run: Run, group: str) -> World:
    """The world of a group of a run: its arms, costs, means and the covariance of its photographs.

    Of each arm the records are taken that a judge chose. The covariance is that of the sample, whatever its rank.

    Raises:
        ValueError: fewer than two judges, or no treatment.
    """
    if len(run.judges) < 2:
        raise ValueError(f"{run.title}: judged by {run.judges}; a world needs two judges")
    arms = [
        s for s in Comparisons(run).in_group(group)
        if s.record.role in ("treatment", *RIVALS) and s.record.chosen and s.record.leak == "none"
        and all(np.isfinite(s.values[judge]).all() for judge in run.judges[:2])
    ]  # fmt: skip
    if not any(s.record.role == "treatment" for s in arms):
        raise ValueError(f"{run.title}: group {group!r} has no treatment")
    scale = 1.0, 100.0
    values = np.array(
        [[k * s.sign(judge) * s.clusters(judge) for s in arms] for judge, k in zip(run.judges, scale, strict=False)]
    )  # (2, A, photographs)
    flat = values.reshape(-1, values.shape[-1]).T
    factor = (flat - flat.mean(axis=0)) / math.sqrt(len(flat) - 1)
    roles, costs = np.array([s.record.role for s in arms]), np.array([s.cost for s in arms])
    seen = np.array([[s.record.seen_by(judge) for s in arms] for judge in run.judges[:2]])
    return World(roles, costs, seen, values.mean(axis=-1), factor)


def contrasts_of(world: World, test: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(experiments, 2, 2, n) differences of the tested treatments and their rivals; NaN where no rival is as cheap."""
    experiments, judges, _, n = test.shape
    rows, made = np.arange(experiments), np.full((experiments, judges, len(RIVALS), n), np.nan)
    for j in range(judges):
        able = np.where(world.seen[j] & (world.roles == "treatment"), scores[:, j], -np.inf)
        treatment = able.argmax(axis=1)
        for r, role in enumerate(RIVALS):
            rivals = world.seen[j] & (world.roles == role) & (world.costs <= world.costs[treatment][:, None])
            able = np.where(rivals, scores[:, j], -np.inf)
            difference = test[rows, j, treatment] - test[rows, j, able.argmax(axis=1)]
            made[:, j, r] = np.where(rivals.any(axis=1)[:, None], difference, np.nan)
    return made


def outcomes(world: World, n: int, experiments: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts of so many experiments on n photographs, and (experiments, 2, 2) whether each contrast is won."""
    found = []
    for test, scores in _drawn(world, n, experiments, seed):
        effects, _, p = inference(contrasts_of(world, test, scores), resamples=RESAMPLES)
        found.append((decide(effects, p, JUDGES), won(effects, p)))
    verdicts, wins = zip(*found, strict=True)
    return np.concatenate(verdicts), np.concatenate(wins)


def _drawn(world: World, n: int, experiments: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for start in range(0, experiments, AT_ONCE):
        yield world.draw(rng, min(AT_ONCE, experiments - start), n)


def as_run(world: World, test: np.ndarray, scores: np.ndarray, crops: int = 1, seed: int = 0) -> Run:
    """One experiment as a session would have recorded it.

    Args:
        test: (2, A, n); scores: (2, A).
        crops: images of each photograph. They differ by 1 dB around the mean that ``test`` has for the photograph.
    """
    rng, n = np.random.default_rng(seed), test.shape[-1]
    judges = ["psnr", "st_lpips"]
    photographs = [f"photograph {i}" for i in range(n) for _ in range(crops)]
    records = []
    for a, role in enumerate(world.roles):
        within = rng.normal(size=(2, n, crops))
        within -= within.mean(axis=-1, keepdims=True)
        psnr, good = (test[:, a, :, None] + within).reshape(2, -1)
        seen = [judge for j, judge in enumerate(judges) if world.seen[j, a]]
        records.append(
            Record(
                suite="restoration", group="task", arm=f"{role} {a}", role=str(role), family=f"family {a}", budget=5,
                axes={"setting": ""}, seconds={"diffusion": float(world.costs[a])}, units={"diffusion": 5},
                measures={
                    "psnr": Measure("dB", True, "quality", (25 + psnr).tolist()),
                    "st_lpips": Measure("", False, "quality", (0.1 - good / 100).tolist()),
                },
                validation={"psnr": 25 + float(scores[0, a]), "st_lpips": 0.1 - float(scores[1, a]) / 100},
                judges=seen, chosen=seen, items=[f"image {i}" for i in range(n * crops)],
                clusters=photographs if crops > 1 else [],
            )
        )  # fmt: skip
    return Run(
        title="planted world", settings={"profile": "planted"}, judges=judges, thresholds={"psnr": [20.0]}, grid=[5],
        comparator="noise", margin=0.5, stages=["dip", "diffusion"], machine={}, records=records,
    )  # fmt: skip


# Measures of a rule: how often it is wrong, and which effect it finds.


# The worst cases of no effect, by judge and role of the rival.
ONE_AT_0 = ((9.0, 0.0), (9.0, 9.0))  # three contrasts are won whatever the chance: only the fourth keeps it from paying
LOST_BY_ONE_JUDGE = ((0.0, 0.0), (-9.0, -9.0))  # the other judge has two contrasts at 0, either of which may be lost
NOTHING = ((0.0, 0.0), (0.0, 0.0))


def share(world: World, n: int, outcome: str, experiments: int, seed: int = 0) -> float:
    """How often a verdict is reached."""
    return float(np.mean(outcomes(world, n, experiments, seed)[0] == outcome))


def found_by_one_judge(world: World, n: int, experiments: int, seed: int = 0) -> float:
    """How often both contrasts of PSNR are won."""
    return float(outcomes(world, n, experiments, seed)[1][:, 0].all(axis=-1).mean())


def effect_found(power: Callable[[World], float], world: World, wanted: float = 0.8, largest: float = 20.0) -> float:
    """The effect on every contrast that is found in a share of experiments; infinity beyond the largest that is tried.

    Arms of a role are alike. By bisection, over the same random numbers at every effect, to 1 %.
    """

    def at(effect: float) -> float:
        return power(world.with_effects(effect * np.array(EVERYWHERE), alike=True))

    low, high = 0.0, largest
    if at(high) < wanted:
        return math.inf
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= wanted else (middle, high)
    return high


def found_by_old_rule(world: World, n: int, experiments: int, seed: int = 0) -> float:
    """How often the rule before this one found both contrasts by PSNR, the only judge that it had.

    The best of all treatments on the test images; Wilcoxon signed-rank, adjusted (Holm) for both contrasts of every
    treatment. (Its interval, BCa, had to exclude 0 too, which is left out here.)
    """
    wins = []
    for test, scores in _drawn(world, n, experiments, seed):
        treatments = np.flatnonzero(world.roles == "treatment")
        p = []
        for role in RIVALS:
            able = (world.roles == role) & (world.costs <= world.costs[treatments].max())
            rival = np.where(able, scores[:, 0], -np.inf).argmax(axis=1)
            difference = test[:, 0, treatments] - test[np.arange(len(test)), 0, rival][:, None]
            p.append(np.where(difference.mean(axis=-1) > 0, signed_rank_p(difference), 1.0))
        family = np.stack(p, axis=1).reshape(len(test), -1)  # (experiments, 2 x treatments)
        order = np.argsort(family, axis=1)
        stepped = np.take_along_axis(family, order, axis=1) * (family.shape[1] - np.arange(family.shape[1]))
        adjusted = np.empty_like(family)
        np.put_along_axis(adjusted, order, np.maximum.accumulate(stepped, axis=1), axis=1)
        best = test[:, 0, treatments].mean(axis=-1).argmax(axis=1)
        both = adjusted.reshape(len(test), 2, -1)[np.arange(len(test)), :, best]
        wins.append((both < 0.05).all(axis=1))
    return float(np.concatenate(wins).mean())


def signed_rank_p(differences: np.ndarray) -> np.ndarray:
    """Exact two-sided p of the Wilcoxon signed-rank test along the last axis, without ties."""
    n = differences.shape[-1]
    ways = np.ones(1)
    for rank in range(1, n + 1):  # in how many ways each sum of ranks comes about, of 2^n
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    ranks = np.abs(differences).argsort(axis=-1).argsort(axis=-1) + 1
    positive = (ranks * (differences > 0)).sum(axis=-1)
    below = np.cumsum(ways)[np.minimum(positive, n * (n + 1) // 2 - positive)]
    return np.minimum(1.0, 2 * below)


# How often intervals hold the truth.


def _of_clusters(count: int) -> Callable:
    """12 values in so many clusters, whose own deviation is as large as that of a value in it."""

    def draw(rng: np.random.Generator, experiments: int, n: int) -> np.ndarray:
        return rng.normal(size=(experiments, count, 1)) + rng.normal(size=(experiments, count, 12 // count))

    return draw


LAWS: dict[str, Callable] = {
    "normal": lambda rng, experiments, n: rng.normal(size=(experiments, n, 1)),
    "t3": lambda rng, experiments, n: rng.standard_t(3, size=(experiments, n, 1)),
    "gamma": lambda rng, experiments, n: rng.gamma(2.0, size=(experiments, n, 1)) - 2,
    "lognormal": lambda rng, experiments, n: np.exp(rng.normal(size=(experiments, n, 1))) - math.exp(0.5),
    "normal, 2 x 6": _of_clusters(2),
    "normal, 6 x 2": _of_clusters(6),
}
"""(experiments, clusters, values of each) of mean 0."""


def coverage(law: str, n: int, method: str = "ours", experiments: int = 4_000, seed: int = 0) -> float:
    """How often a 95 % interval of n clusters holds the truth.

    Args:
        method: ``ours``; ``bca``, what this project had before, and ``crops``, Student's t, each over all values.
    """
    values = LAWS[law](np.random.default_rng(seed), experiments, n)
    flat = values.reshape(experiments, -1)
    if method == "bca":
        low, high = bca(flat)
        return float(np.mean((low <= 0) & (high >= 0)))
    centre, half, _ = inference(values.mean(axis=-1) if method == "ours" else flat, resamples=1_999)
    return float(np.mean(np.abs(centre) <= half))


def bca(rows: np.ndarray, resamples: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of the means of (M, n) rows: bias-corrected and accelerated bootstrap (Efron 1987)."""
    n, mean = rows.shape[1], rows.mean(axis=1, keepdims=True)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    means = np.sort(rows @ draws.T, axis=1)
    below = np.clip((means < mean).mean(axis=1), 1 / resamples, 1 - 1 / resamples)
    pull = mean - rows
    acceleration = (pull**3).sum(axis=1) / (-6 * (pull**2).sum(axis=1) ** 1.5)
    bias = stats.norm.ppf(below)
    ends = []
    for z in stats.norm.ppf([0.025, 0.975]):
        at = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append(means[np.arange(len(rows)), np.clip(np.round(at * resamples).astype(int), 0, resamples - 1)])
    return ends[0], ends[1]


# The tables.


def verdict_table(world: World, experiments: int = 20_000, tries: int = 2_000) -> str:
    """Rows by number of photographs: how often the verdict is wrong, and which effect it finds."""
    heads = [
        "photographs", "*pays* / *does not pay* in the worst case of no effect", "the same, arms of a role unlike",
        "nothing differs: *pays* / *does not pay* / *pays in one alone*", "found in 80 %: both contrasts of one judge",
        "*pays* in 80 %", "the rule before in 80 %", "+0.5 is found: one judge / *pays* / the rule before",
    ]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    half = world.with_effects(0.5 * np.array(EVERYWHERE), alike=True)
    for n in (6, 20, 64):
        cells = []
        for alike in (True, False):
            wrong = ((ONE_AT_0, "pays"), (LOST_BY_ONE_JUDGE, "does not pay"))
            cells.append([share(world.with_effects(at, alike), n, outcome, experiments) for at, outcome in wrong])
        found = outcomes(world.with_effects(NOTHING, alike=True), n, experiments)[0].astype(str)
        cells.append(
            [np.mean(found == "pays"), np.mean(found == "does not pay"), np.char.endswith(found, "alone").mean()]
        )
        texts = [" / ".join(f"{100 * value:.1f} %" for value in values) for values in cells]
        powers: list[Callable[[World], float]] = [
            partial(found_by_one_judge, n=n, experiments=tries),
            partial(share, n=n, outcome="pays", experiments=tries),
            partial(found_by_old_rule, n=n, experiments=tries),
        ]
        effects = [effect_found(power, world) for power in powers]
        texts += [f"{effect:.2f}" if math.isfinite(effect) else "never" for effect in effects]
        texts.append(" / ".join(f"{100 * power(half):.0f} %" for power in powers))
        lines.append(f"| {n} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def coverage_table(experiments: int = 20_000) -> str:
    """Rows by law: how often intervals hold the truth, by method and number of clusters."""
    sizes = (6, 12, 29, 30, 64)
    heads = [f"n = {n}" for n in sizes] + ["BCa, n = 12"]
    lines = ["| law | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for law in ("normal", "t3", "gamma", "lognormal"):
        found = [coverage(law, n, "ours", experiments) for n in sizes] + [coverage(law, 12, "bca", experiments)]
        lines.append(f"| {law} | " + " | ".join(f"{100 * value:.1f} %" for value in found) + " |")
    lines += [
        "",
        "| 12 values in clusters | over clusters | over values, Student's t | over values, BCa |",
        "|" + "---|" * 4,
    ]
    for count in (2, 6):
        law = f"normal, {count} x {12 // count}"
        found = [coverage(law, count, method, experiments) for method in ("ours", "crops", "bca")]
        lines.append(f"| {law} | " + " | ".join(f"{100 * value:.1f} %" for value in found) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    planted = fitted(Run.load(Path(sys.argv[1])), sys.argv[2]) if len(sys.argv) > 2 else made_up()
    print(verdict_table(planted), coverage_table(), sep="\n\n")
