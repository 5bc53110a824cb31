"""Restorations as a population: where they are many enough, and what the leaderboard makes of it."""

from types import SimpleNamespace

import numpy as np
import planted
import pytest
import torch

from dipddpm.data import to_uint8
from dipddpm.experiments.restored_population import LEAST, RestoredPopulations
from dipddpm.measure.record import Measure
from dipddpm.population.kid import Kid
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.tables import leaderboard_table


class Colours:
    """An extractor whose features are the mean colour, so that KID can be computed by hand."""

    name, label, fingerprint, width, gives_fid = "colours", "colours", "colours", 3, False

    @property
    def opened(self):
        return self

    def features(self, images):
        return images.float().div(255).flatten(2).mean(2)

    kept_features = features


def population(restored: int, training: int):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (training, 3, 8, 8), dtype=torch.uint8, generator=generator)
    names = [f"photograph {i}" for i in range(training)]
    dataset = SimpleNamespace(
        sample=lambda split, count, or_fewer: pixels[:count],
        sample_photographs=lambda split, count, or_fewer: names[:count],
    )
    shown = SimpleNamespace(photographs=tuple(f"test {i}" for i in range(restored)))
    fits = SimpleNamespace(dataset=dataset, memo=direct_memo, images=lambda split: shown)
    return RestoredPopulations(fits, Colours()), pixels


def direct_memo(function, arguments, **_):
    return SimpleNamespace(value=function(**arguments))


@pytest.mark.parametrize(("restored", "training"), [(LEAST - 1, 200), (200, LEAST - 1)])
def test_too_few_photographs_are_not_judged(restored, training):
    made, _ = population(restored, training)
    assert made.scores(torch.zeros(restored, 3, 8, 8)) == {}


def test_kid_of_restorations_against_training_photographs():
    made, pixels = population(LEAST, 100)
    x_hat = torch.rand(LEAST, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ((title, (value, interval, higher)),) = made.scores(x_hat).items()
    features = Colours().features
    assert value == pytest.approx(Kid()(features(to_uint8(x_hat)), features(pixels)))
    assert "KID" in title and f"@{LEAST}-train" in title and not higher and interval[0] < interval[1]


def test_a_metric_of_a_population_is_a_column_and_no_value_per_image():
    run = planted.experiment(+1.0, +1.0, treatments=1)
    record = next(r for r in run.records if r.role == "treatment")
    record.measures["KID@64"] = Measure("", False, "quality", [0.25], interval=[0.2, 0.3])
    table = frame(run)
    row = table[table["arm"] == record.arm].iloc[0]
    assert (row["KID@64"], row["KID@64_low"], row["KID@64_high"]) == (0.25, 0.2, 0.3)
    assert "KID@64" not in next(s for s in Comparisons(run).samples if s.record.arm == record.arm).values
    text = leaderboard_table(table[table["judge"] == run.primary], run, run.primary)
    assert "KID@64 ↓" in text.splitlines()[0] and text.count("0.2500") == 1
    assert not np.isnan(row[run.primary])
