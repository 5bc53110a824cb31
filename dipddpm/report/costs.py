"""What a record is charged: its counted work times the run's median price of such work.

The seconds that a single execution took are off by up to a factor of 8 on a shared machine, while the work is counted
exactly. Records that did the same kind of work in a stage therefore share one pace.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from dipddpm.measure.record import Record


class Paces:
    """The paces of a run: for each stage and key, the median over records of seconds per unit."""

    def __init__(self, records: Iterable[Record]):
        measured: dict[tuple[str, str], list[float]] = {}
        for record in records:
            for stage, key in record.pace.items():
                if record.units.get(stage) and stage in record.seconds:
                    measured.setdefault((stage, key), []).append(record.seconds[stage] / record.units[stage])
        self._paces = {at: median(prices) for at, prices in measured.items()}

    def seconds(self, record: Record) -> dict[str, float]:
        """{stage: seconds per image that a record is charged}: units times pace.

        A stage that counts no units or has no key is charged what it took itself.
        """
        made = {}
        for stage, own in record.seconds.items():
            pace = self._paces.get((stage, record.pace.get(stage, "")))
            units = record.units.get(stage)
            made[stage] = own if pace is None or not units else units * pace
        return made
