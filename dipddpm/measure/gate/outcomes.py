"""The outcome of a comparison with a baseline: findings, the exit code that follows from them, and a table of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Literal

from dipddpm.measure.escape import for_markdown, visible
from dipddpm.measure.exit_codes import FAILED, HOLDS, NO_BASELINE, NOTHING, REGRESSION, UNDECIDED

Outcome = Literal[
    "regression", "failed", "missing", "incomparable", "inconclusive", "improved", "new", "not selected", "holds"
]
WORDS = {
    HOLDS: "holds", REGRESSION: "REGRESSION", NO_BASELINE: "NO BASELINE", UNDECIDED: "UNDECIDED",
    NOTHING: "NOTHING MEASURED", FAILED: "FAILED",
}  # fmt: skip
LISTED: tuple[Outcome, ...] = ("regression", "failed", "missing", "incomparable", "inconclusive", "improved", "new")
ROWS = 20  # how many rows the table has at most for each outcome


@dataclass(frozen=True)
class Finding:
    """The outcome of one measure of one entry, or of a whole entry (``metric`` is "")."""

    outcome: Outcome
    key: str
    metric: str
    text: str


@dataclass
class Comparison:
    """All findings, in order of appearance.

    Attributes:
        device: name of the section that was compared with.
        same_machine: the run is from the machine of the baseline.
        raw_timings: number of measures in plain seconds, which are not compared.
    """

    device: str
    same_machine: bool
    raw_timings: int = 0
    findings: list[Finding] = field(default_factory=list)

    def of(self, outcome: Outcome) -> list[Finding]:
        """The findings of an outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]

    @property
    def code(self) -> int:
        """Exit code: 1 if something regressed; 6 if cells failed, since what is missing may be theirs; 1 if something
        is missing; 4 if something could not be decided; 5 if nothing was compared; else 0."""
        if self.of("regression"):
            return REGRESSION
        if self.of("failed"):
            return FAILED
        if self.of("missing"):
            return REGRESSION
        if self.of("incomparable") or self.of("inconclusive"):
            return UNDECIDED
        return HOLDS if self.of("holds") or self.of("improved") else NOTHING

    def summary(self, baseline: str) -> str:
        """One line: the result and how many findings there are of each outcome."""
        machine = "same machine" if self.same_machine else "another machine"
        order: tuple[Outcome, ...] = ("holds", *LISTED, "not selected")
        names = {"holds": "hold", "regression": "regressed", "improved": "improved"}
        counts = [f"{len(found)} {names.get(name, name)}" for name in order if (found := self.of(name))]
        raw = f"; {self.raw_timings} timings in seconds are not gated" if self.raw_timings else ""
        listed = ", ".join(counts) or "no entries"
        return f"{WORDS[self.code]} against {baseline} ({self.device}, {machine}): {listed}{raw}"

    def table(self, form: str = "simple") -> str:
        """All findings but those that hold, worst first; "" if all hold. Findings for the same reason share a row.

        Args:
            form: as ``tabulate`` names it: ``simple`` for a terminal, ``github`` for Markdown.
        """
        rows: list[dict[str, str]] = []
        for outcome in LISTED:
            by_reason: dict[tuple[str, str], list[Finding]] = {}
            for finding in self.of(outcome):
                by_reason.setdefault((finding.metric, finding.text), []).append(finding)
            for (metric, text), members in list(by_reason.items())[:ROWS]:
                more = f" and {len(members) - 1} more" if len(members) > 1 else ""
                rows.append({"": outcome, "entry": members[0].key + more, "measure": metric, "what": text})
            if len(by_reason) > ROWS:
                rows.append({"": outcome, "entry": f"... {len(by_reason) - ROWS} more", "measure": "", "what": ""})
        import pandas as pd

        table = pd.DataFrame(rows).map(visible if form == "simple" else for_markdown)
        return table.to_markdown(index=False, disable_numparse=True, tablefmt=form) if rows else ""

    def as_json(self) -> dict:
        """Outcome, counts and every finding but those that hold, for a script."""
        listed = [asdict(finding) for outcome in LISTED for finding in self.of(outcome)]
        counts = Counter(finding.outcome for finding in self.findings)
        return {
            "outcome": WORDS[self.code], "code": self.code, "section": self.device, "same_machine": self.same_machine,
            "counts": dict(counts), "findings": listed,
        }  # fmt: skip

    def markdown(self, baseline: str) -> str:
        """Summary and table as Markdown, for the summary of a CI job."""
        parts = ("# Baseline gate", self.summary(baseline), self.table("github"))
        return "\n\n".join(part for part in parts if part) + "\n"
