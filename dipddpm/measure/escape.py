"""Text from outside, made harmless where it is shown: names of files, data sets and plug-ins may hold anything.

One function for each format. Each leaves a text as it is that means the same there as anywhere.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MARKDOWN = str.maketrans({c: f"&#{ord(c)};" for c in "&<>|`\\*[]"})
FORMULA = ("=", "+", "-", "@")


def visible(text: str) -> str:
    """For a terminal or a message: on one line, every character that cannot be printed as its escape.

    An ESC would begin a command to the terminal, and a line break a line that the program did not write.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def for_markdown(text: str) -> str:
    """For Markdown, tables included: characters that begin a tag, a cell, a link, code or bold stand as entities."""
    return visible(text).translate(MARKDOWN)


def for_html(value: object) -> str:
    """For HTML, in text and in attributes."""
    return html.escape(visible(str(value)))


def for_csv(value: Any) -> Any:
    """For a cell of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_of(table: pd.DataFrame) -> str:
    """A table as CSV, in full precision."""
    return table.rename(columns=for_csv).map(for_csv).to_csv(index=False)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
