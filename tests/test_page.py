"""The page of a report: one file that asks for nothing, shows what the records say, and runs no name as code."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from planted import experiment, record, run

from dipddpm.measure.escape import for_markdown
from dipddpm.report import columns, latex
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import TOP, markdown
from dipddpm.report.page.assets import HERE, SCRIPTS, vendored
from dipddpm.report.page.document import html
from dipddpm.report.picture_sheet import PictureSheet, cases, read_sheet, write_sheet
from dipddpm.report.verdict import verdict
from dipddpm.session.figures import Figures
from dipddpm.session.reporting import write_report

HOSTILE = "</script><script>window.owned = 1</script><img src=http://example.org/x onerror=owned=1>"


class Elements(HTMLParser):
    """Tags with their attributes, and the text of every element by its name."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._open = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs) if tag == "script" else None

    def handle_data(self, data):
        if self._open is not None:
            self.scripts.append((self._open, data))

    def handle_endtag(self, tag):
        self._open = None


def page_of(made, figures=()):
    comparisons = Comparisons(made)
    return html(comparisons, frame(made, comparisons), figures)


def charts_of(elements):
    return json.loads(next(text for attrs, text in elements.scripts if attrs.get("id") == "charts"))


def test_a_page_is_one_file_that_asks_for_nothing():
    text = page_of(experiment(+2.0, +2.0))
    elements = Elements(text)
    assert len(text.encode()) < 6_000_000
    loading = [
        (tag, attrs) for tag, attrs in elements.tags for name in ("src", "href", "srcset", "action") if name in attrs
    ]
    assert loading and all(attrs.get("href", "").startswith(("#", "data:")) for _, attrs in loading)
    policy = next(attrs["content"] for tag, attrs in elements.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    runs = [script for attrs, script in elements.scripts if attrs.get("type") != "application/json"]
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in runs}
    assert len(runs) == len(SCRIPTS) + 1 and hashes == set(re.findall(r"sha256-([\w+/=]+)", policy))


def test_scripts_of_others_are_what_was_published():
    listed = json.loads((HERE / "vendor/libraries.json").read_text(encoding="utf-8"))
    assert {library["file"] for library in listed} == set(SCRIPTS)
    for library in listed:
        assert hashlib.sha256((HERE / "vendor" / library["file"]).read_bytes()).hexdigest() == library["sha256"]
        assert (HERE / "vendor" / f"LICENSE.{library['name']}.txt").exists()
        assert "sourceMappingURL" not in vendored(library["file"]) and "</script" not in vendored(library["file"])


def test_forest_plots_show_the_contrasts_of_the_verdict():
    made = experiment(+2.0, -2.0)
    found, charts = verdict(Comparisons(made), "task"), charts_of(Elements(page_of(made)))
    for place, tested in enumerate(found.tested):
        rows = charts[f"chart-{place}"]["spec"]["datasets"]["rows"]
        assert [row["rival"] for row in rows] == ["best control", "best DIP alone"]
        for row, contrast in zip(rows, tested.contrasts.values(), strict=True):
            assert (
                row["effect"] == pytest.approx(contrast.effect, rel=1e-5) and row["low"] <= row["effect"] <= row["high"]
            )
            assert (row["standing"] == "won") == (contrast.effect > 0)


def test_a_board_has_every_arm_its_key_and_a_command_that_names_its_suite():
    made = experiment(+2.0, +2.0)
    made.records[:] = [replace(r, origin="bench_controls") for r in made.records]
    text = page_of(made)
    assert text.count("pytest bench/bench_controls.py --profile planted -k task") == len(frame(made))
    assert text.count("restoration / task / dip net0 100 / 5 / 0") == 2, "one row for each judge"


def test_hostile_names_are_text():
    made = experiment(+1.0, 0.0, treatments=1)
    made.records[:] = [
        replace(r, group=HOSTILE, arm=f"{r.arm} {HOSTILE}", axes={**r.axes, "setting": HOSTILE}) for r in made.records
    ]
    made.comparator, made.title, made.settings["data"] = f"noise {HOSTILE}", HOSTILE, HOSTILE
    made.failures, made.failed = {HOSTILE: HOSTILE}, 1
    text = page_of(made)
    elements = Elements(text)
    assert len(elements.scripts) == len(SCRIPTS) + 2, "the scripts of the page and its data, and no other"
    assert not [tag for tag, attrs in elements.tags if tag in ("img", "iframe", "object") or "onerror" in attrs]
    assert HOSTILE not in text and charts_of(elements)["chart-0"]["spec"]["datasets"]["rows"][0]["name"].endswith(
        HOSTILE
    )
    shown = re.sub(r"`[^`]*`", "", markdown(made, frame(made)))
    assert "<script" not in "".join(line for line in shown.splitlines() if line.startswith("|"))


IN_NO_TABLE = replace(record("noise", "control", [20.0]), chosen=())


@pytest.mark.parametrize(
    "records", [[], [record("noise", "control", [20.0])], [IN_NO_TABLE]], ids=["nothing", "one image", "in no table"]
)
def test_a_run_with_little_in_it_has_a_page(records):
    text = page_of(run(records))
    assert "there is no verdict" in text and "What this run cannot tell" in text
    assert not re.search(r"\bnan\b", text.partition("<script")[0], re.IGNORECASE)


def test_what_failed_is_said_with_its_reason():
    made = experiment(+1.0, 0.0, treatments=1)
    made.failed, made.failures = 1, {"bench_controls[task-tv]": "MemoryError: 3 GiB"}
    text = page_of(made)
    assert "bench_controls[task-tv]" in text and "MemoryError: 3 GiB" in text and "#failed" in text


def sheet_of(folder, group="task"):
    names, rows = ["target", "observation", "from noise"], list(cases([0.1, -0.3, 0.5, 0.2, 0.0, 0.4, -0.1]))
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (len(rows), 8, 8, 3), dtype=np.uint8) for name in names}
    said = {"from noise": [f"{20 + i} dB" for i in range(len(rows))]}
    sheet = PictureSheet(group, "what it does", names, rows, said, (8, 8))
    return write_sheet(sheet, pictures, folder / "pictures-task.png"), sheet, pictures


def test_a_sheet_of_pictures_says_what_it_shows(tmp_path):
    path, sheet, pictures = sheet_of(tmp_path)
    assert read_sheet(path) == replace(sheet, file=path)
    from PIL import Image

    whole = np.asarray(Image.open(path))
    for i, name in enumerate(sheet.columns):
        for j in range(len(sheet.cases)):
            assert (whole[8 * j : 8 * j + 8, 8 * i : 8 * i + 8] == pictures[name][j]).all()
    text = page_of(experiment(+1.0, 0.0, treatments=1), [path])
    assert text.count('class="picture"') == len(sheet.columns) * len(sheet.cases)
    assert "from noise, worst gain: image 6, " in text
    path.write_bytes(path.read_bytes()[:-60])
    assert read_sheet(path) is None, "a damaged sheet is no sheet"
    with pytest.raises(ValueError, match="do not fit"):
        write_sheet(sheet, {name: p[:1] for name, p in pictures.items()}, path)


def test_cases_are_the_first_the_best_the_middle_and_the_worst():
    gains = [0.0, 5.0, -1.0, 9.0, 2.0, 3.0, -7.0, 1.0, 4.0]
    shown = cases(gains, first=1, each=2)
    kinds = {}
    for name, i in shown.items():
        kinds.setdefault(name.partition(":")[0], []).append(gains[i])
    assert kinds["first images"] == [0.0] and kinds["best gain"] == [9.0, 5.0] and kinds["worst gain"] == [-7.0, -1.0]
    assert set(kinds["median gain"]) <= {1.0, 2.0, 3.0} and len(set(shown.values())) == len(shown)


def test_a_reader_of_the_markdown_sees_verdicts_first_and_then_few_rows_of_few_columns():
    made = experiment(+2.0, +2.0, treatments=12)
    shown = re.sub(r"<details>.*?</details>", "", markdown(made, frame(made)), flags=re.DOTALL)
    tables = [block.splitlines() for block in shown.split("\n\n") if block.startswith("|")]
    assert "does a DIP start pay?" in tables[0][0] and "The DIP start pays." in tables[0][2]
    assert all(row.count("|") - 1 <= 6 and len(row) < 300 for table in tables for row in table)
    assert len(tables[1]) == TOP + 2


def test_every_column_of_every_table_is_described_and_tables_are_latex(tmp_path):
    made = experiment(+2.0, +2.0)
    made.records.append(replace(record("a_b & 50 % {x}", "control", np.arange(16.0) - 50, lpips=np.ones(16))))
    report = write_report(made, Figures(tmp_path / "figures"))
    written = {path.relative_to(tmp_path).as_posix() for path in report.files}
    assert {"index.html", "columns.md", "tables/verdicts.tex", "tables/task-psnr.tex"} <= written
    said = (tmp_path / "columns.md").read_text(encoding="utf-8")
    for file in tmp_path.glob("*.csv"):
        for name in pd.read_csv(file, nrows=0).columns:
            assert f"| {for_markdown(name)} |" in said
    text = (tmp_path / "tables/task-psnr.tex").read_text(encoding="utf-8")
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule")) and "dip net0 100" in text
    assert latex.latex(pd.DataFrame([{"a": r"a_b & 50 % \x"}])).count(r"a\_b \& 50 \% \textbackslash{}x") == 1
    assert write_report(made, Figures(tmp_path / "figures")) == report
    (tmp_path / "tables/task-psnr.tex").unlink()
    assert write_report(made, Figures(tmp_path / "figures")) == report and (tmp_path / "tables/task-psnr.tex").exists()


def test_a_run_without_arms_has_a_report(tmp_path):
    report = write_report(run([]), Figures(tmp_path / "figures"))
    assert all(path.exists() for path in report.files) and "No arms were run" in report.terminal
    assert (tmp_path / "columns.md").read_text(encoding="utf-8").count("##") == 0


def test_columns_have_the_meaning_of_the_most_specific_pattern():
    assert columns.meaning("seconds_dip") == "seconds of the stage dip, as charged"
    assert columns.meaning("psnr_low") == "end of the 95 % interval of psnr"
    assert columns.meaning("control_low").startswith("end of the 95 % interval of that difference")
