"""The page as one file: sections put together, scripts inlined, and a policy that lets nothing else run or load."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dipddpm.measure.files import write_text
from dipddpm.report.comparisons import Comparisons
from dipddpm.report.page.assets import SCRIPTS, read, vendored
from dipddpm.report.page.sections import page
from dipddpm.report.page.vega import Chart

NAME = "index.html"


def write_page(comparisons: Comparisons, table: pd.DataFrame, folder: Path, figures: Sequence[Path] = ()) -> Path:
    """Write ``index.html``, which needs no other file and no network; its path.

    Args:
        table: ``frame(run)``.
        figures: paths; the sheets of pictures among them are shown.
    """
    path = folder / NAME
    write_text(path, html(comparisons, table, figures))
    return path


def html(comparisons: Comparisons, table: pd.DataFrame, figures: Sequence[Path] = ()) -> str:
    """The page. Every name of a run is escaped, and only the scripts whose hash the policy lists can run."""
    charts: dict[str, Chart] = {}

    def place(chart: Chart) -> str:
        """The id under which the page finds the specification of a chart."""
        charts[name := f"chart-{len(charts)}"] = chart
        return name

    return rendered(
        "page.html", SCRIPTS, place=place, charts=lambda: json_block(charts), page=page(comparisons, table, figures)
    )


def rendered(template: str, names: Sequence[str], **values: object) -> str:
    """A template of this package filled in: every text is escaped, and a name that is missing is an error.

    Args:
        names: of the scripts of others that it needs; ``page.js`` comes after them.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # imported here: only a page needs it

    scripts = [*map(vendored, names), read("template/page.js")]
    environment = Environment(
        loader=PackageLoader("dipddpm.report.page", "template"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(
        style=read("template/page.css"), scripts=scripts, policy=policy(scripts), **values
    )


def policy(scripts: Sequence[str]) -> str:
    """A content security policy: these scripts, inline styles and inline pictures, and no request of any kind."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    rest = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {hashes}; {rest}"


def json_block(charts: dict[str, Chart]) -> str:
    """The specifications, and which rows and columns their tables have, as JSON that no text in it can end."""
    made = {
        name: {"spec": c.spec, "rows": c.rows, "columns": [[k.field, k.title, k.form] for k in c.columns]}
        for name, c in charts.items()
    }  # fmt: skip
    text = json.dumps(made, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
