"""Baselines: which runs may become one, what the file keeps and what it refuses."""

import json
import math
from dataclasses import replace

import pytest
from planted_gate import IMAGES, MACHINE, STAGE, cell, edited, on_card, ratios, records, run, stage

from dipddpm.cli import main
from dipddpm.measure.files import readable_json
from dipddpm.measure.gate.baseline import FORMAT, NoBaseline, entries_of, load, section_for, section_name, section_of
from dipddpm.measure.gate.compare import compare
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.instruments import machine as machine_module
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.record import Measure, MeasureError, Run


def test_a_baseline_keeps_what_was_measured(tmp_path):
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    section = load(file)["cpu"]
    before, after = entries_of(run()), section.entries
    assert before.keys() == after.keys()
    for key in before:
        for name, measure in before[key].measures.items():
            assert after[key].measures[name].values == pytest.approx(measure.values, rel=1e-5), (key, name)
    assert (section.reason, section.machine) == ("first", MACHINE) and section.versions["torch"]
    assert "seconds" not in after[STAGE].measures and after[STAGE].measures["time"].yardstick


def test_one_measure_a_line_so_that_a_change_is_one_line(tmp_path):
    promote(run(), "first", tmp_path / "a.json")
    made = records()
    psnr = made[0].measures["psnr"]
    made[0] = replace(made[0], measures={**made[0].measures, "psnr": replace(psnr, values=[1.0, *psnr.values[1:]])})
    promote(run(made), "first", tmp_path / "b.json")
    a, b = ((tmp_path / name).read_text().splitlines() for name in ("a.json", "b.json"))
    assert len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1
    assert json.loads(readable_json({"a": [], "b": {"c": {}}, "d": [{"e": 1}]})) == {
        "a": [],
        "b": {"c": {}},
        "d": [{"e": 1}],
    }


def test_devices_live_side_by_side_and_tolerances_stay(tmp_path):
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    edited(file, tolerances={"psnr": {"same": 0.05}}, floor={"psnr": {"same": 0.03}})
    promote(on_card("NVIDIA H100 80GB HBM3", device="cuda:0"), "a GPU", file)
    promote(run(), "again", file)
    sections, card = load(file), "cuda (NVIDIA H100 80GB HBM3)"
    assert set(sections) == {"cpu", card} and sections[card].reason == "a GPU"
    assert sections["cpu"].tolerances == {"psnr": {"same": 0.05}} and sections["cpu"].floor["psnr"] == {"same": 0.03}


# Cards


def test_a_section_is_named_by_its_card():
    assert section_of(run()) == section_name("cpu", MACHINE | {"gpu": "card A"}) == "cpu"
    assert section_of(on_card("card A")) == section_of(on_card("card A", device="cuda:1")) == "cuda (card A)"
    assert section_name("cuda", MACHINE) == "cuda", "a run that does not say which card it ran on"


def test_another_section_leaves_the_bytes_of_the_first_as_they_were(tmp_path):
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    before = file.read_text()
    assert json.loads(before)["format"] == FORMAT
    for name in ("card A", "card B"):
        promote(on_card(name, [cell(psnr=20.0)]), "a GPU", file)
        after = file.read_text()
        assert before.endswith("\n}\n") and after.startswith(before.removesuffix("\n}\n") + ",\n")
        before = after
    assert list(load(file)) == ["cpu", "cuda (card A)", "cuda (card B)"]


def test_a_run_is_compared_with_its_own_card(tmp_path):
    file = tmp_path / "b.json"
    promote(on_card("card A", [cell(psnr=24.0)]), "a GPU", file)
    promote(on_card("card B", [cell(psnr=20.0)]), "another GPU", file)
    for name, psnr, other in (("card A", 24.0, 20.0), ("card B", 20.0, 24.0)):
        section = section_for(on_card(name), load(file), file)
        assert compare(on_card(name, [cell(psnr=psnr)]), section).code == 0
        assert compare(on_card(name, [cell(psnr=min(psnr, other) - 0.5)]), section).code == 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (on_card("card B"), r"no baseline for cuda \(card B\), only for cuda \(card A\), .* from this card with `dip"),
        (run(), r"no baseline for cpu, only for cuda \(card A\), .* a run from this kind of device with `dip"),
    ],
)
def test_a_card_without_a_section_is_refused(tmp_path, made, said, capsys):
    file, saved = tmp_path / "b.json", tmp_path / "run.json"
    promote(on_card("card A"), "a GPU", file)
    with pytest.raises(NoBaseline, match=said) as caught:
        section_for(made, load(file), file)
    made.save(saved)
    assert main(["compare", str(saved), str(file)]) == 3
    assert str(caught.value) in capsys.readouterr().err


def test_the_command_line_names_the_card(tmp_path, capsys):
    saved, file = tmp_path / "run.json", tmp_path / "b.json"
    on_card("card A").save(saved)
    assert main(["baseline", "promote", str(saved), "--reason", "a GPU", "--out", str(file)]) == 0
    assert capsys.readouterr().out.endswith("6 entries for cuda (card A)\n")
    assert main(["compare", str(saved), str(file)]) == 0
    assert "holds against " in (out := capsys.readouterr().out) and "(cuda (card A), same machine): " in out


def test_a_section_that_is_asked_for_may_be_of_another_device(tmp_path, capsys):
    """What a GPU's numbers differ by from a CPU's."""
    saved, file = tmp_path / "run.json", tmp_path / "b.json"
    promote(run(), "a CPU", file)
    on_card("card A", [cell(psnr=20.0)]).save(saved)
    assert main(["compare", str(saved), str(file)]) == 3
    assert main(["compare", str(saved), str(file), "--section", "cpu"]) == 1
    assert "regression" in (out := capsys.readouterr().out) and "(cpu, another machine): " in out
    assert main(["compare", str(saved), str(file), "--section", "tpu"]) == 2
    assert "unknown section 'tpu': choose from cpu" in capsys.readouterr().err


def test_a_file_with_a_section_of_no_card_is_read(tmp_path):
    file = tmp_path / "b.json"
    promote(run(settings=run().settings | {"device": "cuda"}), "a run that named no card", file)
    assert list(load(file)) == ["cuda"]
    with pytest.raises(NoBaseline, match=r"no baseline for cuda \(card A\), only for cuda, "):
        section_for(on_card("card A"), load(file), file)


@pytest.mark.parametrize(
    ("made", "reason", "said"),
    [
        (run(), " ", "needs a reason"),
        (run(failed=2), "x", "2 failed tests"),
        (run(selected="-k inpaint"), "x", r"not whole \(-k inpaint\)"),
        (run(selected="unfinished"), "x", r"not whole \(unfinished\)"),
        (run([]), "x", "nothing that can be gated"),
        (
            run([cell(measures={"psnr": Measure("dB", True, "quality", [math.nan])})]),
            "x",
            "noise / 5 / 0: psnr holds NaN",
        ),
        (run([stage(time=ratios(yardstick_noise=0.4))]), "x", "promote a run from a quieter one"),
    ],
    ids=["reason", "failed", "partial", "killed", "empty", "NaN", "unsteady"],
)
def test_what_is_no_baseline(tmp_path, made, reason, said):
    with pytest.raises(MeasureError, match=said):
        promote(made, reason, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tolerances": {"psnr": {"same": -1}}}, "tolerance of psnr, same: -1 must be a number from 0"),
        ({"tolerances": {"psnr": {"here": 1}}}, "tolerance of psnr for 'here': choose from same, other, dedicated"),
        ({"tolerances": {"overrides": [{"metric": "psnr", "same": 1}]}}, "must name 'entries' and 'metric'"),
        ({"entries": {"x": {}}}, "not a baseline of dipddpm"),
        ({"floor": {"psnr": {"same": 0.02}}}, r"0.01 for psnr \(same machine\) is below the noise floor 0.02"),
    ],
)
def test_a_file_that_cannot_hold(tmp_path, changes, said):
    file = tmp_path / "b.json"
    promote(run(), "first", file)
    edited(file, **changes)
    with pytest.raises(MeasureError, match=said) as caught:
        load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(MeasureError, match=said):
        promote(run(), "again", file)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(NoBaseline, match="no such baseline"):
        load(tmp_path / "b.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(MeasureError, match="not a baseline"):
        load(tmp_path / "b.json")


def test_a_noisy_entry_gets_a_tolerance_of_its_own(tmp_path):
    file, key = tmp_path / "b.json", "restoration / inpaint / blur / 5 / 0"
    promote(run(), "first", file)
    edited(file, floor={"psnr": {"same": 0.004}, "entries": {key: {"psnr": {"same": 0.1}}}})
    with pytest.raises(
        MeasureError, match=r"below the noise floor 0\.1 measured at restoration / inpaint / blur / 5"
    ) as e:
        load(file)
    override = json.loads(str(e.value).partition("with ")[2].partition(" under")[0])  # the message says what to write
    edited(file, tolerances={"overrides": [override]})
    section = load(file)["cpu"]
    made = records()
    for i in (0, 3):
        psnr = made[i].measures["psnr"]
        worse = replace(psnr, values=[value - 0.12 for value in psnr.values])
        made[i] = replace(made[i], measures={**made[i].measures, "psnr": worse})
    assert {f.key for f in compare(run(made), section).of("regression")} == {"restoration / inpaint / noise / 1 / 0"}


# The command line


def test_exit_codes_of_the_command_line(tmp_path, capsys):
    file, base = tmp_path / "run.json", tmp_path / "b.json"
    run().save(file)
    assert main(["compare", str(file), str(base)]) == 3
    assert main(["baseline", "promote", str(file), "--out", str(base)]) == 2
    assert "needs a reason" in capsys.readouterr().err
    assert main(["baseline", "promote", str(file), "--reason", "first", "--out", str(base)]) == 0
    assert main(["compare", str(file), str(base)]) == 0
    run([replace(r, arm="other") if r.arm == "noise" else r for r in records()]).save(file)
    assert main(["compare", str(file), str(base)]) == 1
    run(config={"images": 9}).save(file)
    assert main(["compare", str(file), str(base)]) == 4
    run([]).save(file)
    assert main(["compare", str(file), str(base)]) == 1  # a whole run without anything: all suites are gone
    run([], selected="-k x").save(file)
    assert main(["compare", str(file), str(base)]) == 5
    run(settings=run().settings | {"device": "cuda"}).save(file)
    capsys.readouterr()
    assert main(["compare", str(file), str(base)]) == 3
    assert "no baseline for cuda, only for cpu" in capsys.readouterr().err


def test_a_run_with_nan_survives_its_file(tmp_path):
    values = [math.nan, *map(float, range(1, IMAGES))]
    made = run([cell(measures={"psnr": Measure("dB", True, "quality", values)})])
    made.save(tmp_path / "run.json")
    values = Run.load(tmp_path / "run.json").records[0].measures["psnr"].values
    assert math.isnan(values[0]) and values[1] == 1.0


def test_the_fingerprint_knows_what_rounds_and_nothing_that_flutters(monkeypatch):
    found = machine()
    assert {"cpu", "cores", "threads", "torch", "blas", "gpu", "gpu_driver", "id"} <= set(found)
    assert not any("mhz" in str(value).lower() or "frequency" in name for name, value in found.items())
    monkeypatch.setattr(machine_module, "_blas", lambda: "another")
    assert machine.__wrapped__()["id"] != found["id"]
