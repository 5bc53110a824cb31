"""A cell of which an image diverged is shown as such: without a rank, in no contrast, and nowhere as NaN."""

import math
from dataclasses import replace

import pytest
from planted import experiment

from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown


@pytest.mark.parametrize("role", ["treatment", "control"])
def test_a_diverged_arm_competes_with_nothing(role):
    run = experiment(+1.0, 0.0, treatments=1)
    arm = next(record.arm for record in run.records if record.role == role)
    for i, record in enumerate(run.records):
        if record.arm == arm:
            lost = {name: replace(m, values=[math.nan, *m.values[1:]]) for name, m in record.measures.items()}
            lost = {name: m if m.kind == "quality" else record.measures[name] for name, m in lost.items()}
            run.records[i] = replace(record, measures=lost, diverged=1)
    comparisons = Comparisons(run)
    table = frame(run, comparisons)
    text = markdown(run, table, [], comparisons)
    assert "1 of 16 images diverged" in text and "## Cells of which images diverged" in text
    assert "nan" not in text.lower().replace("nance", "")
    rows = table[table["arm"] == arm]
    assert rows["rank"].isna().all() and (rows["diverged"] == 1).all()
    others = table[table["arm"] != arm]
    assert sorted(others[others["judge"] == run.primary]["rank"])[0] == 1, "the others are ranked among themselves"
    for group in others["group"].unique():
        for judge in run.judges:
            tested = comparisons.tested(group, judge)
            if role == "treatment":
                assert tested.treatment.record.arm == arm, "the test images choose no other"
                assert not any(tested.contrasts.values())
            else:
                assert tested.contrasts["control"] is None or tested.contrasts["control"].rival.record.arm != arm
