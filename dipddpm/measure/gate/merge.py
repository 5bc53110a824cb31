"""Which submissions may stand in one table, and how far they agree: by the rule that the gate compares runs by.

Two submissions stand on one board if their settings and config agree (:func:`settings_that_differ`), as those of a run
and its baseline have to. Within a board the newest version leads, and the leading submission is compared with each
other one as with a baseline. Entries are compared if code of the suite, images and seeds agree. A submission is refused
if this is so for none of its entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.measure.gate.baseline import section_of
from dipddpm.measure.gate.compare import compare, settings_that_differ
from dipddpm.measure.gate.outcomes import Comparison
from dipddpm.measure.gate.promote import as_section
from dipddpm.measure.submission import Submission

COMPARED = ("holds", "regression", "improved", "inconclusive")


@dataclass(frozen=True)
class Member:
    """A submission of a board.

    Attributes:
        path: its file.
        against: the leading submission held against this one: what holds was reproduced, what improved or regressed
            did so since; None of the leading one itself.
    """

    path: Path
    submission: Submission
    against: Comparison | None = None


@dataclass(frozen=True)
class Board:
    """Submissions that can be compared with each other, the newest version first."""

    members: list[Member] = field(default_factory=list)

    @property
    def leading(self) -> Submission:
        """The one that all others are held against."""
        return self.members[0].submission


def merge(submissions: Mapping[Path, Submission]) -> tuple[list[Board], dict[Path, str]]:
    """The boards, and why each of the other submissions stands in none."""
    boards: list[Board] = []
    refused: dict[Path, str] = {}
    seen: dict[str, Path] = {}
    for path, one in sorted(submissions.items(), key=lambda item: _newest_first(item[1])):
        if (first := seen.setdefault(one.content_hash, path)) != path:
            refused[path] = f"the same run as {first.name}"
            continue
        section = as_section(one.run, one.by, one.submitted, {"dipddpm": one.version})
        board = next((b for b in boards if not settings_that_differ(b.leading.run, section)), None)
        if board is None:
            boards.append(Board([Member(path, one)]))
            continue
        found = compare(board.leading.run, section, device=section_of(one.run))
        if any(found.of(outcome) for outcome in COMPARED):  # type: ignore[arg-type]
            board.members.append(Member(path, one, found))
        else:
            why = next((f.text for f in found.of("incomparable")), "it has no entry of the same name")
            refused[path] = f"nothing of it compares with {board.members[0].path.name}: {why}"
    return boards, refused


def _newest_first(one: Submission) -> tuple:
    """By version, the newest first; of one version the earliest submission first, then by content."""
    numbers = [-int(n) for n in re.match(r"[\d.]+", one.version)[0].strip(".").split(".")]  # type: ignore[index]
    return [*numbers, *[0] * (4 - len(numbers))], one.submitted, one.content_hash
