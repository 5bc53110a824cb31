"""Figures of a session: drawn when their data changed, kept when not, and none of an earlier run left over."""

from dipddpm.measure.session import Figures


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
