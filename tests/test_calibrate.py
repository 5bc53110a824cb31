"""Times in turns with the yardstick workload, the noise floor, and the calibration that writes it."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_gate import MACHINE, STAGE, edited, on_card, records, run, stage

from dipddpm.measure.gate.baseline import entries_of, load, write
from dipddpm.measure.gate.calibrate import Calibration
from dipddpm.measure.gate.calibration_runs import busy
from dipddpm.measure.gate.noise_floor import losses_caught, quality_floor, repeated, slowdowns_caught
from dipddpm.measure.gate.promote import promote
from dipddpm.measure.gate.tolerances import Tolerances
from dipddpm.measure.instruments import paired_timing
from dipddpm.measure.instruments.machine import machine
from dipddpm.measure.instruments.paired_timing import PAIRS, measured, paired, steady, yardstick_work
from dipddpm.measure.record import Measure, MeasureError

# The yardstick workload, on a clock that tells what was planted


class Clock:
    """A clock that moves only when something works, at a pace that the machine changes as it likes."""

    def __init__(self, noise, seed=0):
        self.now, self.noise, self.rng = 0.0, noise, np.random.default_rng(seed)

    def __call__(self):
        return self.now

    def work(self, seconds):
        def run():
            self.now += seconds * math.exp(self.rng.normal(0, self.noise))

        return run


def test_ratios_of_neighbours_of_equal_length():
    clock = Clock(0.0)
    values, seconds = paired(clock.work(0.05), clock.work(0.002), clock=clock)
    assert values == pytest.approx([25.0] * PAIRS) and seconds == pytest.approx([0.002] * PAIRS)


def test_a_machine_that_slows_down_slows_both():
    clock = Clock(0.0)
    pace = [1.0]
    works = [clock.work(0.05), clock.work(0.01)]

    def slowing(work):
        def run():
            before = clock.now
            work()
            pace[0] *= 1.002
            clock.now = before + (clock.now - before) * pace[0]

        return run

    values, _ = paired(*(slowing(work) for work in works), clock=clock)
    assert max(values) / min(values) < 1.05 and pace[0] > 1.3


def test_an_unsteady_yardstick_is_measured_again_and_said(monkeypatch):
    clock = Clock(0.6)
    monkeypatch.setattr(paired_timing, "yardstick_work", lambda device: clock.work(0.2))
    assert not steady(measured(clock.work(0.2), "cpu", clock=clock))
    clock.noise = 0.01
    assert steady(measured(clock.work(0.2), "cpu", clock=clock))


def test_the_yardstick_workload_runs():
    values, seconds = paired(yardstick_work("cpu"), yardstick_work("cpu"), pairs=3, seconds=0.001)
    assert len(values) == 3 and all(0.1 < value < 10 for value in values) and all(s > 0 for s in seconds)


# The floor


def session(rng, level=1.0):
    """A time as a shared machine tells it: every session has a pace of its own, pairs vary, now and then one far."""
    pace = math.exp(rng.normal(0, 0.03))
    values = level * pace * np.exp(rng.normal(0, 0.05, PAIRS))
    values[rng.random(PAIRS) < 0.05] *= 1.5
    return Measure(
        "x yardstick", False, "timing", values.tolist(), yardstick=(0.01 + 1e-4 * rng.random(PAIRS)).tolist()
    )


def test_unchanged_code_raises_no_alarm_and_a_slowdown_is_always_caught():
    rng = np.random.default_rng(7)
    measures = [session(rng) for _ in range(200)]
    found = repeated(measures, 0.30)
    assert found.n == 200 and found.alarms <= 10 and found.inconclusive <= 0.05
    assert 1.05 < found.typical < 1.2 and found.typical < found.largest < 1.5
    caught = {factor: slowdowns_caught(measures, factor, 0.30) for factor in (1.1, 1.3, 1.6, 2.0)}
    assert caught[1.1] == 0 and caught[1.6] == caught[2.0] == 10 and caught[1.3] <= 5, caught
    assert slowdowns_caught(measures, 1.6, 0.30, draws=100) >= 98


def test_losses_are_caught_beyond_the_tolerance(tmp_path):
    promote(run(), "first", tmp_path / "b.json")
    section = load(tmp_path / "b.json")["cpu"]
    assert losses_caught(run(), section, 0.05) == (4, 4) and losses_caught(run(), section, 0.005) == (0, 4)
    elsewhere = run(machine={"id": "elsewhere"})
    assert losses_caught(elsewhere, section, 0.1) == (0, 4) and losses_caught(elsewhere, section, 0.5) == (4, 4)


def test_the_quality_floor_lists_what_is_noisy():
    made = records()
    for i, by in ((0, 0.001), (3, 0.3)):
        psnr = made[i].measures["psnr"]
        made[i] = replace(
            made[i], measures={**made[i].measures, "psnr": replace(psnr, values=[v + by for v in psnr.values])}
        )
    wide = Tolerances({}, ({"entries": "* / blur / *", "metric": "psnr", "other": 1.0},))
    for tolerances in (Tolerances(), wide):  # what is allowed more is no floor of entries in general
        largest, listed = quality_floor(entries_of(run()), entries_of(run(made)), "other", tolerances)
        assert largest == {"psnr": {"other": 0.001}, "ssim": {"other": 0.0}}
        assert listed == {"restoration / inpaint / blur / 5 / 0": {"psnr": {"other": 0.3}}}


def test_calibration_writes_the_floor_and_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, rng, said = tmp_path / "b.json", np.random.default_rng(0), []
    promote(run(machine=machine()), "first", file)
    calibration = Calibration(file, "cpu", suites=tmp_path, say=said.append)
    for i in range(5):
        run([stage(time=session(rng))], machine=machine()).save(calibration.folder / f"timing-{i:02}.json")
    for name, arm in (("quality-same", 0.0), ("quality-other", 0.15)):
        made = records()
        psnr = made[0].measures["psnr"]
        made[0] = replace(
            made[0], measures={**made[0].measures, "psnr": replace(psnr, values=[v + arm for v in psnr.values])}
        )
        run(made, machine=machine() if not arm else MACHINE).save(calibration.folder / f"{name}.json")
    assert "0 of 5" in calibration.timing(5)
    assert "0.15" in calibration.quality()
    floor = load(file)["cpu"].floor
    assert floor["timing"] == {"repeats": 5} and 0 < floor["entries"][STAGE]["timing"]["same"] < 0.3
    key = "restoration / inpaint / noise / 1 / 0"
    assert floor["entries"][key]["psnr"] == {"other": 0.15} and floor["psnr"]["same"] < 1e-4 and not said
    table = calibration.detection()
    assert "time x 1.6" in table and "10 of 10" in table and "psnr, 0.5 worse" in table
    edited(file, tolerances={"psnr": {"other": 0.1}})
    calibration.quality()
    assert "is below the noise floor 0.15" in said[0]
    with pytest.raises(MeasureError, match="below the noise floor"):
        load(file)


def test_calibration_elsewhere_keeps_what_the_machine_of_the_baseline_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "b.json"
    promote(run(machine={"id": "elsewhere"}), "first", file)
    edited(file, floor={"psnr": {"same": 0.004, "other": 0.003}})
    calibration = Calibration(file, "cpu", suites=tmp_path, say=[].append)
    for name in ("quality-same", "quality-other"):
        run(machine=machine()).save(calibration.folder / f"{name}.json")
    calibration.quality()
    floor = load(file)["cpu"].floor["psnr"]
    assert floor["same"] == 0.004 and floor["other"] < 1e-4, "what this machine found replaces what another did"


def test_a_calibration_run_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    promote(run(), "first", tmp_path / "b.json")
    calibration = Calibration(tmp_path / "b.json", "cpu", ["--no-such-option"], suites=tmp_path)
    with pytest.raises(MeasureError, match=r"calibration run timing-00 failed(.|\n)*no-such-option"):
        calibration.timing(1)
    monkeypatch.setattr("dipddpm.measure.gate.calibrate.machine", lambda: MACHINE | {"gpu": "card A"})
    with pytest.raises(MeasureError, match=r"no section 'cuda \(card A\)' to calibrate, only cpu"):
        Calibration(tmp_path / "b.json", "cuda").section()
    with pytest.raises(MeasureError, match="nothing kept"):
        calibration.detection()


def test_the_floor_of_a_card_is_written_into_its_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = MACHINE | {"gpu": "card A", "id": "beside card A"}
    monkeypatch.setattr("dipddpm.measure.gate.calibrate.machine", lambda: card)
    for name in (None, "card A", "card B"):
        promote(on_card(name) if name else run(), "first", tmp_path / "b.json")
    calibration = Calibration(tmp_path / "b.json", "cuda:0", suites=tmp_path, say=[].append)
    for name in ("quality-same", "quality-other"):
        on_card("card A").save(calibration.folder / f"{name}.json")
    calibration.quality()
    floors = {name: section.floor for name, section in load(tmp_path / "b.json").items()}
    assert floors.pop("cuda (card A)")["psnr"]["same"] < 1e-4
    assert floors == {"cpu": {}, "cuda (card B)": {}}


def test_a_calibration_run_that_was_killed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    promote(run(), "first", tmp_path / "b.json")

    def killed(command, **options):
        run(selected="unfinished").save(Path(command[command.index("--results") + 1]) / "run-1.json")
        return subprocess.CompletedProcess(command, -9, stdout="", stderr="")

    monkeypatch.setattr("dipddpm.measure.gate.calibration_runs.subprocess.run", killed)
    calibration = Calibration(tmp_path / "b.json", "cpu", suites=tmp_path)
    with pytest.raises(MeasureError, match="calibration run timing-00 failed with exit code -9"):
        calibration.timing(1)
    assert not list(calibration.folder.glob("*.json"))


def test_the_hogs_go_when_they_should():
    import psutil

    before = {p.pid for p in psutil.Process().children()}
    with busy(1):
        (hog,) = (p for p in psutil.Process().children() if p.pid not in before)
    assert not hog.is_running()


def test_a_floor_is_written_even_where_it_forbids_the_tolerances(tmp_path):
    """What was measured is kept; the next load says what it forbids."""
    promote(run(), "first", tmp_path / "b.json")
    sections = load(tmp_path / "b.json")
    sections["cpu"].floor = {"psnr": {"same": 1.0}}
    write(tmp_path / "b.json", sections)
    assert load(tmp_path / "b.json", check=False)["cpu"].floor == {"psnr": {"same": 1.0}}
    with pytest.raises(MeasureError):
        load(tmp_path / "b.json")
