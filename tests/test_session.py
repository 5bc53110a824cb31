"""Figures of a session: drawn when their data changed, kept when not, and none of an earlier run left over."""

import json

import pytest
from planted import experiment

from dipddpm.cli import main
from dipddpm.measure import content
from dipddpm.report import leaderboard
from dipddpm.report.comparisons import Comparisons
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report


def painter(folder, name, calls):
    def draw():
        calls.append(name)
        folder.mkdir(exist_ok=True)
        for suffix in ("png", "svg"):
            (folder / f"{name}.{suffix}").write_text(f"{len(calls)}")
        return [folder / f"{name}.png"]

    return draw


def test_a_figure_is_drawn_again_only_from_other_data(tmp_path):
    calls, folder = [], tmp_path / "figures"
    for key in ("a", "a", "b"):
        figures = Figures(folder)
        figures.add("curve", key, painter(folder, "curve", calls))
        assert figures.paths == [folder / "curve.png"]
    assert len(calls) == 2
    (folder / "curve.png").unlink()
    Figures(folder).add("curve", "b", painter(folder, "curve", calls))
    assert len(calls) == 3
    (folder / "drawn-from.json").write_text("{")
    Figures(folder).add("curve", "b", painter(folder, "curve", calls))
    assert len(calls) == 4


def test_figures_of_an_earlier_run_go(tmp_path):
    folder = tmp_path / "figures"
    Figures(folder).add("old", "a", painter(folder, "old", []))
    figures = Figures(folder)
    figures.add("new", "a", painter(folder, "new", []))
    figures.tidy()
    assert sorted(p.name for p in folder.iterdir()) == ["drawn-from.json", "new.png", "new.svg"]
    assert list(json.loads((folder / "drawn-from.json").read_text())) == ["new"]


def test_files_that_no_session_drew_stay(tmp_path):
    folder = tmp_path / "figures"
    Figures(folder).add("old", "a", painter(folder, "old", []))
    for name in ("photo.png", "notes.txt", "old.txt"):
        (folder / name).write_text("mine")
    figures = Figures(folder)
    figures.add("new", "a", painter(folder, "new", []))
    figures.tidy()
    left = {"drawn-from.json", "new.png", "new.svg", "photo.png", "notes.txt", "old.txt"}
    assert {p.name for p in folder.iterdir()} == left
    empty = Figures(tmp_path / "none")
    empty.tidy()
    assert not (tmp_path / "none").exists()


def test_what_a_name_no_longer_draws_goes(tmp_path):
    folder = tmp_path / "figures"
    both = [painter(folder, name, []) for name in ("inpaint", "denoise")]
    Figures(folder).add("charts", "a", lambda: [path for draw in both for path in draw()])
    figures = Figures(folder)
    figures.add("charts", "b", both[1])
    figures.tidy()
    assert sorted(p.name for p in folder.iterdir()) == ["denoise.png", "denoise.svg", "drawn-from.json"]


def test_the_report_of_a_run_file_draws_as_its_session_did(tmp_path):
    made, folder = experiment(+1.0, 0.0, treatments=1), tmp_path / "out" / "figures"
    made.save(tmp_path / "run.json")
    assert main(["report", str(tmp_path / "run.json"), "--out", str(tmp_path / "out")]) == 0
    drawn = {file: file.stat().st_mtime_ns for file in folder.glob("*.png")}
    figures = Figures(folder)
    figures.add_charts(made, lambda: Comparisons(made))
    assert drawn and {file: file.stat().st_mtime_ns for file in figures.paths} == drawn
    assert (tmp_path / "out" / "leaderboard.md").exists()


def test_a_report_is_found_if_its_records_and_code_are_the_same(tmp_path, monkeypatch):
    made, folder = experiment(+1.0, 0.0, treatments=1), tmp_path / "out"
    first = write_report(made, Figures(folder / "figures"))
    text = (folder / "leaderboard.md").read_text(encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(leaderboard, "frame", lambda *_: pytest.fail("computed again"))
        again = write_report(made, Figures(folder / "figures"))
    assert again == first and "planted" in text and again.terminal

    (folder / "leaderboard.md").write_text("edited", encoding="utf-8")
    assert write_report(made, Figures(folder / "figures")) == first
    assert (folder / "leaderboard.md").read_text(encoding="utf-8") == text, "an edited file is written again"
    (folder / "leaderboard.csv").unlink()
    write_report(made, Figures(folder / "figures"))
    assert (folder / "leaderboard.csv").exists()

    other = experiment(+2.0, 0.0, treatments=1)
    assert write_report(other, Figures(folder / "figures")).terminal != first.terminal
    (folder / "made-from.json").write_text("[1]", encoding="utf-8")
    assert write_report(made, Figures(folder / "figures")) == first, "a damaged manifest is no manifest"


@pytest.mark.parametrize("module", ["report.leaderboard", "report.verdict", "report.markdown", "measure.statistics"])
def test_a_report_is_made_again_by_other_code(tmp_path, monkeypatch, module):
    made, figures = experiment(+1.0, 0.0, treatments=1), tmp_path / "out" / "figures"
    write_report(made, Figures(figures))
    source, manifest = content._source, tmp_path / "out" / "made-from.json"
    before = json.loads(manifest.read_text(encoding="utf-8"))["made of"]
    planted = f"dipddpm.{module}"
    monkeypatch.setattr(content, "_source", lambda name: source(name) + "\nPLANTED = 1\n" * (name == planted))
    write_report(made, Figures(figures))
    assert json.loads(manifest.read_text(encoding="utf-8"))["made of"] != before
