"""The tables: best first, leaks apart, the same numbers in Markdown and CSV, raw values that survive a round trip."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import experiment, record, run

from dipddpm.measure import statistics
from dipddpm.measure.record import Measure, MeasureError, Run
from dipddpm.report import figures
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write
from dipddpm.report.verdict import verdict


def test_best_first_one_row_a_judge_and_arm():
    made = experiment(+2.0, +2.0)
    table = frame(made)
    for judge, better in (("psnr", -1), ("st_lpips", 1)):
        rows = table[table["judge"] == judge]
        assert (better * rows[judge]).is_monotonic_increasing and rows["rank"].is_monotonic_increasing
        assert rows["rank"].iloc[0] == 1 and rows["rank"].iloc[-1] > 1
        assert rows["arm"].is_unique and set(rows["arm"]) == {r.arm for r in made.records}
    assert set(table["judge"]) == {"psnr", "st_lpips"}


def test_ranks_within_noise_are_shared():
    assert set(frame(experiment(0.0, 0.0, noise=20.0))["rank"]) == {1}
    x, rng = np.arange(16.0), np.random.default_rng(0)
    arms = [record(f"c{i}", "control", x + level + rng.normal(0, 0.1, 16)) for i, level in enumerate((0, 3, 3, -9))]
    assert frame(run(arms)).set_index("arm")["rank"].to_dict() == {"c0": 3, "c1": 1, "c2": 1, "c3": 4}


def test_a_metric_where_less_is_better_ranks_the_other_way():
    made = experiment(0.0, 0.0)
    for r in made.records:
        object.__setattr__(r.measures["psnr"], "higher_is_better", False)
    table = frame(made)
    assert table[table["judge"] == "psnr"]["psnr"].is_monotonic_increasing


def test_each_judge_shows_the_setting_that_it_chose():
    x = np.arange(16.0)
    by_both = record("blur", "control", x, lpips=x)
    arms = [
        record("noise", "control", x + 2, lpips=x, judges=["psnr"], chosen=["psnr"], axes={"setting": "eta 0"}),
        record("noise", "control", x + 1, lpips=x, judges=["st_lpips"], chosen=[], axes={"setting": "eta 1"}),
        record("noise", "control", x - 1, lpips=x - 1, budget=20, judges=["st_lpips"], chosen=["st_lpips"],
               axes={"setting": "eta 1"}),
    ]  # fmt: skip
    table = frame(made := run([by_both, *arms]))
    shown = table[table["arm"] == "noise"].set_index("judge")
    assert shown.loc["psnr", ["budget", "setting"]].tolist() == [5, "eta 0"]
    assert shown.loc["st_lpips", ["budget", "setting"]].tolist() == [20, "eta 1"]
    first, second = markdown(made, table).split("settings, chosen by ST-LPIPS")
    assert "eta 0" in first and "eta 1" not in first and "eta 1" in second


def test_a_table_has_few_columns_and_short_rows():
    made = experiment(+2.0, +2.0)
    made.records[0] = replace(made.records[0], axes={"setting": "ddpm", "samples": 1})
    at = next(i for i, r in enumerate(made.records) if r.arm == "blur")
    changes = {"budget": 20, "axes": {"setting": "t0 25", "samples": 4}, "training_seconds": 60.0}
    made.records[at] = replace(made.records[at], **changes)
    text = markdown(made, frame(made))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert max(map(len, rows)) < 250
    first = text.split("settings, chosen by PSNR")[1].split("</details>")[0].splitlines()
    (blur,) = (row for row in first if row.startswith("|") and "blur" in row)
    assert "| blur (learned) " in blur and "| 4 x 5 " in blur
    assert "**dip net0 100**" in text and "| **dip net1" not in text, "the tested treatment is bold, and no other"
    assert "**" not in terminal(made, frame(made)) and rows[0].startswith("| task")


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
    table = pd.read_csv(csv)
    blocks = [b for b in md.read_text().split("\n\n") if b.startswith("| #") and "| setting" in b]
    for judge, form, block in zip(("psnr", "st_lpips"), (".2f", ".4f"), blocks, strict=True):
        rows, expected = block.splitlines()[2:], table[table["judge"] == judge]
        assert len(rows) == len(expected)
        for line, (_, row) in zip(rows, expected.iterrows(), strict=True):
            cells = [cell.strip() for cell in line.split("|")]
            assert cells[2].strip("*") == row["arm"]
            assert cells[4] == f"{row[judge]:{form}} [{row[f'{judge}_low']:{form}}, {row[f'{judge}_high']:{form}}]"
    values = next(r for r in made.records if r.arm == table.iloc[0]["arm"]).measures["psnr"].values
    assert table.iloc[0]["psnr"] == pytest.approx(np.mean(values), rel=1e-15)  # full precision
    assert "dip net0 100" in terminal(made, frame(made))


def test_intervals_of_a_table_hold_together_and_those_of_the_verdict_stand_for_themselves():
    made = experiment(+1.0, 0.5)
    comparisons = Comparisons(made)
    table, found = frame(made, comparisons), verdict(comparisons, "task")
    rows = table[table["judge"] == "psnr"].set_index("arm")
    sample = next(s for s in comparisons.samples if s.record.arm == "blur")
    alone = sample.interval("psnr")
    assert rows.loc["blur", "psnr_low"] < alone.low and rows.loc["blur", "psnr_high"] > alone.high
    tested = rows[rows["tested"]].iloc[0]
    for name in ("control", "part"):
        d = found.tested[0].contrasts[name].difference
        shown = [tested[f"{name}_{part}"] for part in ("diff", "low", "high", "p")]
        assert shown == pytest.approx([d.mean, d.low, d.high, d.p])
    other = rows.loc["dip net1 100"]
    assert not other["tested"] and other["control_high"] - other["control_low"] > d.high - d.low
    assert ((rows["control_p"] < 0.05) == ((rows["control_low"] > 0) | (rows["control_high"] < 0))).all()


def test_share_reached_counts_every_image():
    x = np.array([10.0] * 12 + [30.0] * 4)
    table = frame(run([record("noise", "control", x)]))
    assert table["psnr>=20 reached"].item() == 0.25
    assert pd.isna(table["psnr>=20 median"].item())
    assert "| 25 % " in markdown(run([record("noise", "control", x)]), table)


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
    lacking = [{name: value for name, value in whole.items() if name != gone} for gone in ("records", "judges")]
    torn = [whole | {"records": [{"arm": "noise"}]}, whole | {"records": None}, whole | {"no such field": 1}]
    for text in ("not json", "[]", "{}", *map(json.dumps, [*lacking, *torn])):
        file.write_text(text)
        with pytest.raises(MeasureError, match=r"run\.json: not a run file"):
            Run.load(file)
    file.write_text('{"schema": 0}')
    with pytest.raises(MeasureError, match=r"schema 0, this version reads 3"):
        Run.load(file)


def test_a_cell_that_diverged_is_kept_and_loses_no_table(tmp_path):
    made = experiment(+1.0, 0.0)
    nan = [np.nan] * 16
    made.records.append(record("blur", "control", nan, lpips=nan, budget=5, validation=-np.inf))
    kid = Measure("", False, "quality", [np.nan], interval=[np.nan, np.nan])
    made.records[-1] = replace(made.records[-1], measures={**made.records[-1].measures, "kid": kid})
    made.save(tmp_path / "run.json")
    assert "NaN" not in (tmp_path / "run.json").read_text()
    last = (loaded := Run.load(tmp_path / "run.json")).records[-1]
    assert np.isnan(last.validation["psnr"]) and np.isnan(last.measures["psnr"].values).all()
    assert np.isnan(last.measures["kid"].interval).all()
    for each in (made, loaded):
        table = frame(each)
        assert pd.isna(table.iloc[-1]["psnr"]) and "nan" in markdown(each, table) and terminal(each, table)


def test_a_run_that_is_not_whole_says_so():
    made = experiment(0.0, 0.0, treatments=1)
    assert "not the whole" not in markdown(made, frame(made))
    made.selected = "interrupted"
    assert "**not the whole of the suites: interrupted**" in markdown(made, frame(made))


def test_one_report_computes_each_interval_once(monkeypatch, tmp_path):
    made, counted, compute = experiment(+1.0, 0.5, n=32), [], statistics.inference

    def counting(means, level=0.05, together=False, resamples=0):
        counted.append((np.asarray(means).tobytes(), level, together))
        return compute(means, level, together, resamples)

    monkeypatch.setattr(statistics, "inference", counting)
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
        assert "No verdict" not in text and "DIP start" not in text and "dip a 10" in text


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
    assert "| 62 %: 1 NFE, 1.01 s" in text and "| 0 %" in text


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
    assert text.count("| 50") == 1 and "12.50 →" in line and line.count("→") == 2 and "27.50" in line
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
