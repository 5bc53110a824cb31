"""Names from outside, as reports show them: every format has its own way to be fooled."""

import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_gate import cell, run

from dipddpm.measure.escape import csv_of, for_csv, for_html, for_markdown, visible
from dipddpm.measure.gate.outcomes import Comparison, Finding
from dipddpm.report.escape import with_names
from dipddpm.report.leaderboard import frame
from dipddpm.report.markdown import markdown, terminal, write

NAME = "<script>alert(1)</script>|`x`\n## Pays\x1b[31m[a](http://b)**"
TEXTS = st.text(max_size=60)
FEW = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@FEW
@given(TEXTS)
def test_a_name_is_one_line_of_characters_that_can_be_printed(text):
    assert visible(text).isprintable() and visible(visible(text)) == visible(text)
    assert visible(text) == text or not text.isprintable()


@FEW
@given(TEXTS)
def test_a_name_in_markdown_begins_nothing(text):
    shown = for_markdown(text)
    assert shown.isprintable() and not set("<>|`\\*[]") & set(shown)
    assert re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), shown) == visible(text), "and a reader sees it"


@FEW
@given(TEXTS)
def test_a_name_in_html_is_text_alone(text):
    tags, seen = [], []
    parser = HTMLParser()
    parser.handle_starttag, parser.handle_data = lambda *tag: tags.append(tag), seen.append
    parser.feed(f'<p title="{for_html(text)}">{for_html(text)}</p>')
    assert tags == [("p", [("title", visible(text))])] and "".join(seen) == visible(text)


@FEW
@given(TEXTS)
def test_a_name_in_csv_is_no_formula(text):
    assert not for_csv(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    read = pd.read_csv(
        io.StringIO(csv_of(pd.DataFrame({"arm": [text], "n": [-1.5]}))), keep_default_na=False, dtype=str
    )
    assert read.loc[0, "arm"] == for_csv(text) and read.loc[0, "n"] == "-1.5", "a number is no text"


def test_ordinary_names_stay_as_they_are():
    made = run()
    assert with_names(made, for_markdown) is made and with_names(made, visible) is made
    for text in ("dip skip:32 200", "t0 25, ddim eta 0.85", "mean_colour", "folder:a/b", "FD@72-train", "Größe, 写真"):
        assert text == visible(text) == for_markdown(text) == for_csv(text) == for_html(text)


@pytest.fixture
def hostile():
    made = run([cell(NAME, 1), cell("noise", 1), cell("=cmd|' /C calc'!A0", 1, psnr=20.0)])
    made.settings["data"] = made.title = f"folder:{NAME}"
    made.failures = {f"bench::{NAME}": NAME}
    return made


def test_a_report_of_hostile_names_holds_none_of_them(hostile, tmp_path):
    plain = run([cell("other", 1), cell("noise", 1), cell("third", 1, psnr=20.0)])
    plain.failures = {"bench": "why"}
    table = frame(hostile)
    text = markdown(hostile, table)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)  # what is quoted as code is no HTML
    assert "<script" not in outside and "\x1b" not in text and "](http" not in outside
    lines, expected = text.splitlines(), markdown(plain, frame(plain)).splitlines()
    assert [line[:2] for line in lines] == [line[:2] for line in expected], "no line more, no cell opened"
    assert [line.count("|") for line in lines if line.startswith("|")] == [
        line.count("|") for line in expected if line.startswith("|")
    ]
    write(hostile, table, tmp_path)
    read = pd.read_csv(tmp_path / "leaderboard.csv")
    assert any(arm.startswith("'=cmd") for arm in read["arm"]) and len(read) == len(table)
    assert "\x1b" not in terminal(hostile, table)


def test_the_gate_shows_no_hostile_name():
    found = Comparison("cpu", True, findings=[Finding("regression", NAME, NAME, NAME)])
    assert "\x1b" not in found.table() and "<script" not in found.table("github")
    assert len(found.table("github").splitlines()) == 3
