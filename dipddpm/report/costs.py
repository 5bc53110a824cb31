"""What a record is charged: its counted work times the pace of such work.

The seconds that a single execution took are off by up to a factor of 8 on a shared machine, while the work is counted
exactly. So records that did the same kind of work in a stage share one pace: measured in turns with the paces of all
other stages where the run has it, else the median over the run's own single executions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from dipddpm.measure.measured_paces import Pace
from dipddpm.measure.record import Record

Kind = tuple[str, str]
"""A kind of work: stage, and key of its pace."""


@dataclass(frozen=True)
class Work:
    """What was done per image.

    Attributes:
        seconds: by stage, as charged.
        units: of the stages that are charged by a measured pace, by kind of work.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[Kind, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Seconds per image, all stages."""
        return sum(self.seconds.values())

    @classmethod
    def mean(cls, works: Sequence[Work]) -> Work:
        """The mean over repeats; a stage that one of them did without counts as 0 there."""
        seconds = {stage: fmean(w.seconds.get(stage, 0.0) for w in works) for w in works for stage in w.seconds}
        units = {kind: fmean(w.units.get(kind, 0.0) for w in works) for w in works for kind in w.units}
        return cls(seconds, units)


class Paces:
    """The paces of a run: for each stage and key, seconds per unit.

    Args:
        records: the median of their own seconds per unit is the pace of work that was not measured in turns.
        measured: the paces that were measured in turns.
    """

    def __init__(self, records: Iterable[Record], measured: Iterable[Pace] = ()):
        self.measured: dict[Kind, Pace] = {(pace.stage, pace.key): pace for pace in measured}
        single: dict[Kind, list[float]] = {}
        for record in records:
            for stage, key in record.pace.items():
                if record.units.get(stage) and stage in record.seconds:
                    single.setdefault((stage, key), []).append(record.seconds[stage] / record.units[stage])
        self.single: dict[Kind, list[float]] = {at: own for at, own in single.items() if at not in self.measured}
        self._paces = {at: median(own) for at, own in self.single.items()}
        self._paces |= {at: pace.seconds for at, pace in self.measured.items()}

    def work(self, record: Record) -> Work:
        """What a record is charged: units times pace, by stage.

        A stage that counts no units or has no key is charged what it took itself.
        """
        seconds, units = dict[str, float](), dict[Kind, float]()
        for stage, own in record.seconds.items():
            kind, count = (stage, record.pace.get(stage, "")), record.units.get(stage)
            pace = self._paces.get(kind)
            seconds[stage] = own if pace is None or not count else count * pace
            if count and kind in self.measured:
                units[kind] = count
        return Work(seconds, units)

    def difference(self, a: Work, b: Work) -> tuple[float, float]:
        """The smallest and the largest that a's cost less b's can be, with every pace in its interval.

        A pace that both share moves both: a treatment costs more than its own first stage alone at any pace. What is
        charged by no measured pace does not move.
        """
        low = high = a.cost - b.cost
        for kind in {*a.units, *b.units}:
            more = a.units.get(kind, 0.0) - b.units.get(kind, 0.0)
            pace = self.measured[kind]
            ends = [more * (end - pace.seconds) for end in pace.interval]
            low, high = low + min(ends), high + max(ends)
        return low, high
