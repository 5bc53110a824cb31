"""The tables: best first, leaks apart, the same numbers in Markdown and CSV, raw values that survive a round trip."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import experiment, record, run

from dipddpm.measure import statistics
from dipddpm.measure.record import Measure, MeasureError, Run
from dipddpm.report import contrast, figures
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write
from dipddpm.report.verdict import verdict


def test_best_first_one_row_an_arm():
    made = experiment(+2.0, +2.0)
    table = frame(made)
    assert table["psnr"].is_monotonic_decreasing and table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table["arm"].is_unique
    assert set(table["arm"]) == {r.arm for r in made.records}


def test_a_metric_where_less_is_better_ranks_the_other_way():
    made = experiment(0.0, 0.0)
    for r in made.records:
        object.__setattr__(r.measures["psnr"], "higher_is_better", False)
    assert frame(made)["psnr"].is_monotonic_increasing


def test_rows_that_leak_stand_apart_and_carry_no_contrast():
    x = np.arange(16.0)
    made = run(
        [
            record("noise", "control", x + 20),
            record("dip a 100", "treatment", x + 19, family="a", dip=1.0, iterations=100),
            record("oracle", "bound", x + 40, leak="clean-target"),
            record("dip a 100", "treatment", x + 60, family="a", dip=1.0, group="naive", leak="clean-target"),
        ]
    )
    table = frame(made)
    assert table.iloc[0]["arm"] == "noise" and table.iloc[-1]["group"] == "naive"
    assert table[table["leak"] != "none"]["control_diff"].isna().all()
    text = markdown(made, table)
    headline, bounds = text.split("Rows that saw the photograph")[:2]
    assert "oracle" not in headline and "oracle" in bounds
    naive = text.split("## naive")[1]
    assert "The DIP start" not in naive and "Rows that saw the photograph" in naive


def test_markdown_and_csv_show_the_same_numbers(tmp_path):
    made = experiment(+2.0, +2.0)
    md, csv = write(made, frame(made), tmp_path)
    rows = [line.split("|") for line in md.read_text().splitlines() if line.startswith("|") and " dB" not in line][1:]
    table = pd.read_csv(csv)
    assert len(rows) == len(table)
    for cells, (_, row) in zip(rows, table.iterrows(), strict=True):
        assert cells[2].strip() == row["arm"]
        assert cells[3].strip() == f"{row['psnr']:.2f} [{row['psnr_low']:.2f}, {row['psnr_high']:.2f}]"
    values = next(r for r in made.records if r.arm == table.iloc[0]["arm"]).measures["psnr"].values
    assert table.iloc[0]["psnr"] == pytest.approx(np.mean(values), rel=1e-15)  # full precision
    assert "dip net0 100" in terminal(made, frame(made))


def test_share_reached_counts_every_image():
    x = np.array([10.0] * 12 + [30.0] * 4)
    table = frame(run([record("noise", "control", x)]))
    assert table["psnr>=20 reached"].item() == 0.25
    assert pd.isna(table["psnr>=20 median"].item())
    assert "not reached" in markdown(run([record("noise", "control", x)]), table)


def test_nothing_measured_says_so(tmp_path):
    assert "No arms were run" in markdown(run([]), frame(run([])))
    assert "No arms were run" in terminal(run([]), frame(run([])))


def test_a_run_survives_its_file(tmp_path):
    made = experiment(+1.0, 0.0)
    made.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == made


def test_bad_run_files_are_named(tmp_path):
    file = tmp_path / "run.json"
    with pytest.raises(MeasureError, match=r"run\.json: no such run file"):
        Run.load(file)
    experiment(0.0, 0.0, treatments=1).save(file)
    whole = json.loads(file.read_text())
    lacking = [{name: value for name, value in whole.items() if name != gone} for gone in ("records", "primary")]
    torn = [whole | {"records": [{"arm": "noise"}]}, whole | {"records": None}, whole | {"no such field": 1}]
    for text in ("not json", "[]", "{}", *map(json.dumps, [*lacking, *torn])):
        file.write_text(text)
        with pytest.raises(MeasureError, match=r"run\.json: not a run file"):
            Run.load(file)
    file.write_text('{"schema": 0}')
    with pytest.raises(MeasureError, match=r"schema 0, this version reads 2"):
        Run.load(file)


def test_a_cell_that_diverged_is_kept_and_loses_no_table(tmp_path):
    made = experiment(+1.0, 0.0)
    made.records.append(record("blur", "control", [np.nan] * 16, budget=5, validation=-np.inf))
    kid = Measure("", False, "quality", [np.nan], interval=[np.nan, np.nan])
    made.records[-1] = replace(made.records[-1], measures={**made.records[-1].measures, "kid": kid})
    made.save(tmp_path / "run.json")
    assert "NaN" not in (tmp_path / "run.json").read_text()
    last = (loaded := Run.load(tmp_path / "run.json")).records[-1]
    assert last.validation is None and np.isnan(last.measures["psnr"].values).all()
    assert np.isnan(last.measures["kid"].interval).all()
    for each in (made, loaded):
        table = frame(each)
        assert pd.isna(table.iloc[-1]["psnr"]) and "nan" in markdown(each, table) and terminal(each, table)


def test_a_run_that_is_not_whole_says_so():
    made = experiment(0.0, 0.0, treatments=1)
    assert "not the whole" not in markdown(made, frame(made))
    made.selected = "interrupted"
    assert "**not the whole of the suites: interrupted**" in markdown(made, frame(made))


def test_the_p_values_of_the_csv_are_those_of_the_verdict():
    made = experiment(+1.0, 0.5)
    table, found = frame(made), verdict(Comparisons(made), "task")
    row = table[table["arm"] == found.best.record.arm].iloc[0]
    assert found.adjusted == pytest.approx((row["control_p_holm"], row["part_p_holm"]))


def test_one_report_computes_each_bootstrap_once(monkeypatch, tmp_path):
    made, counted, compute = experiment(+1.0, 0.5), [], statistics.mean_interval

    def counting(values):
        counted.append(np.asarray(values).tobytes())
        return compute(values)

    for module in (statistics, contrast):
        monkeypatch.setattr(module, "mean_interval", counting)
    monkeypatch.setattr(figures, "save", lambda figure, stem: stem)  # writing takes long
    comparisons = Comparisons(made)
    table = frame(made, comparisons)
    figures.draw(made, tmp_path, comparisons)
    write(made, table, tmp_path, (), comparisons)
    terminal(made, table, comparisons)
    assert counted and len(counted) == len(set(counted))


def test_a_group_without_a_treatment_has_no_verdict():
    made = run(
        [record("noise", "control", np.arange(16.0)), record("dip a 10", "ablation", np.arange(16.0), family="a")]
    )
    for text in (markdown(made, frame(made)), terminal(made, frame(made))):
        assert "erdict" not in text and "dip a 10" in text


def test_every_arm_is_censored_at_the_largest_budget_of_the_grid():
    x = np.array([10.0] * 12 + [30.0] * 4)
    made = run([record("blur alone", "control", x, budget=0), record("noise", "control", x, budget=20)])
    table = frame(made).set_index("arm")
    assert table.loc["blur alone", "psnr>=20 restricted mean"] == 15, "12 of 16 are not reached within 20"
    assert table.loc["noise", "psnr>=20 restricted mean"] == 20


def test_seconds_to_a_level_hold_the_dip_and_stand_where_half_reached():
    low, high = np.array([10.0] * 7 + [21.0] * 9), np.array([10.0] * 6 + [21.0] * 10)
    arms = [record("dip a 100", "treatment", x, family="a", dip=1.0, iterations=100, budget=b, chosen=b == 5)
            for b, x in ((1, low), (5, high))]  # fmt: skip
    made = run([record("noise", "control", low - 5, budget=20), *arms])
    row = frame(made).set_index("arm").loc["dip a 100"]
    assert row["psnr>=20 median"] == 1 and row["psnr>=20 median seconds"] == pytest.approx(1.01)
    assert pd.isna(row["psnr>=25 median seconds"])
    assert row["nfe_equivalent"] == pytest.approx(5 + 100), "an iteration of 0.01 s is one evaluation of noise"
    assert frame(made).set_index("arm").loc["noise", "nfe_equivalent"] == 20
    assert pd.isna(frame(run(arms)).iloc[0]["nfe_equivalent"]), "no comparator, no price"
    text = markdown(made, frame(made))
    assert "median s to psnr 20 / 25 / noise-0.5" in text and "1.01 / not reached" in text


def test_durations_stand_side_by_side():
    x = np.arange(16.0)
    arms = [
        record(
            f"dip a {i}", role, x + i / 10, family="a", dip=0.01 * i, iterations=i, budget=0 if role == "part" else 5
        )
        for i in (50, 200)
        for role in ("part", "treatment")
    ]
    made = run([record("noise", "control", x), *arms])
    text = markdown(made, frame(made))
    (line,) = (line for line in text.splitlines() if line.startswith("| a "))
    assert text.count("| 50") == 1 and "12.50 [" in line and line.count("→") == 2 and "27.50 [" in line
    common = {"family": "a", "dip": 2.0, "iterations": 200}
    stopped = record("dip a es-wmv", "treatment", x + 9, **common | {"iterations": 120}, axes={"stopping": "es-wmv"})
    averaged = record("dip a 200 ema", "treatment", x + 9, **common, axes={"output": "ema"})
    made.records += [stopped, averaged]
    assert line in markdown(made, frame(made)), "what is stopped or averaged is no point of the durations"


def test_the_relative_level_follows_the_comparator():
    x = np.zeros(16)
    made = run(
        [
            *(record("noise", "control", x + 20 + b / 5, budget=b, chosen=b == 20) for b in (1, 5, 20, 100)),
            *(record("blur", "control", x + 23.6, budget=b, chosen=b == 5) for b in (1, 5)),
        ]
    )
    table = frame(made).set_index("arm")
    assert table.loc["blur", "psnr>=noise-0.5 median"] == 1  # 24 dB at 20, the largest shared budget, less 0.5
    assert table.loc["noise", "psnr>=noise-0.5 median"] == 20
    alone = frame(run([record("blur", "control", x)]))
    assert alone["psnr>=noise-0.5 reached"].item() == 0
