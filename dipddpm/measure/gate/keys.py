"""Keys: by what name a record is known in a baseline, and in the reports that quote it."""

from __future__ import annotations

from dipddpm.measure.record import Record, Run

BY = "by "  # how the part of a key begins that names the judge


def key_of(record: Record, judge: str = "") -> str:
    """The name of a record's entry.

    Args:
        judge: which of those that chose this setting; the first of them by default. Where two judges chose the same
            one, it has one entry under the name of the first, and :func:`shared_keys` finds it under that of the other.
    """
    parts = [record.suite, record.group, record.arm, str(record.budget), str(record.repeat)]
    if record.role == "stage" and record.axes:
        parts.append(", ".join(f"{name}={value}" for name, value in record.axes.items()))
    if record.judges:
        parts.append(f"{BY}{judge or record.judges[0]}")
    return " / ".join(parts)


def shared_keys(run: Run) -> dict[str, str]:
    """{key by a further judge: key of the entry}, of records whose setting several judges chose.

    Two judges may agree on one machine and differ on another, where the validation scores of two settings are equal up
    to rounding. An entry by the second judge is then held against the one that both chose.
    """
    return {key_of(record, judge): key_of(record) for record in run.records for judge in record.judges[1:]}
