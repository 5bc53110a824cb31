"""How far a measure may be from its baseline. No tolerance may be smaller than the measured noise floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from dipddpm.measure.record import Measure, MeasureError

DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "psnr": {"same": 0.01, "other": 0.2},
    "ssim": {"same": 0.001, "other": 0.005},
    "st_lpips": {"same": 0.001, "other": 0.005},
    "timing": {"same": 0.30, "other": 0.30, "dedicated": 0.10},
}
RELATIVE: Mapping[str, float] = {"same": 0.001, "other": 0.02}
"""Tolerance of a quality metric that neither the defaults nor the file name, as a share of the baseline's mean."""
OF_INTERVAL: Mapping[str, float] = {"same": 0.01, "other": 0.1}
"""The same as a share of the width of its interval, for a metric that has one; the larger counts.

The value of such a metric may be close to 0, where a share of the mean would allow nothing."""
WHERE = ("same", "other", "dedicated")


@dataclass(frozen=True)
class Tolerances:
    """The tolerances in force, and the noise floor that was measured.

    Attributes:
        metrics: {metric or "timing": {"same": ..., "other": ..., "dedicated": ...}}: the tolerance on the machine of
            the baseline, on another one, and on one that does nothing else. In units of the metric; for timings, 0.3
            allows a factor of 1.3.
        overrides: tolerances of some entries: {"entries": pattern, "metric": ..., "same": ..., "other": ...}. Where
            several match, the last one counts.
        floor: {metric: {"same": ..., "other": ...}}: the largest difference that unchanged code showed. Noisy entries
            are left out of it and have their own under ``entries``: {entry: {metric: {...}}}.
    """

    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    overrides: tuple[Mapping, ...] = ()
    floor: Mapping = field(default_factory=dict)

    @classmethod
    def read(cls, text: Mapping, floor: Mapping) -> Tolerances:
        """The tolerances of a section of a baseline file, unchecked."""
        return cls({k: v for k, v in text.items() if k != "overrides"}, tuple(text.get("overrides", ())), floor)

    @classmethod
    def checked(cls, text: Mapping, floor: Mapping, file: Path) -> Tolerances:
        """The tolerances of a section of a baseline file.

        Raises:
            MeasureError: a tolerance that is no number from 0, has an unknown name, or is below the floor.
        """
        made = cls.read(text, floor)
        for name, values in made.metrics.items():
            _check(file, name, values)
        for override in made.overrides:
            if not {"entries", "metric"} <= set(override):
                raise MeasureError(f"{file}: tolerance override {dict(override)} must name 'entries' and 'metric'")
            values = {k: v for k, v in override.items() if k not in ("entries", "metric")}
            _check(file, f"{override['entries']} {override['metric']}", values)
        if below := made.below_floor():
            raise MeasureError(f"{file}: {below[0]}")
        return made

    def named(self, key: str, metric: str, where: str) -> float | None:
        """The tolerance that defaults, file or overrides give a metric of an entry, None where none does.

        A ``key`` of "" asks for entries in general, which no override names.
        """
        found = {**DEFAULTS.get(metric, {}), **self.metrics.get(metric, {})}
        for override in self.overrides:
            if key and override["metric"] == metric and fnmatchcase(key, override["entries"]):
                found |= override
        return found.get(where)

    def of(self, key: str, name: str, measure: Measure, where: str) -> float:
        """The tolerance for a measure of an entry; ``where`` is ``same``, ``other`` or ``dedicated``."""
        timing = measure.kind == "timing"
        if where == "dedicated" and not timing:
            where = "same"  # that nothing else runs on a machine does not change how it rounds
        named = self.named(key, "timing" if timing else name, where)
        if named is not None:
            return named
        relative = RELATIVE[where] * abs(sum(measure.values) / len(measure.values))
        return (
            max(relative, OF_INTERVAL[where] * (measure.interval[1] - measure.interval[0]))
            if measure.interval
            else relative
        )

    def below_floor(self) -> list[str]:
        """One message per tolerance that unchanged code would break, with what to write instead."""
        entries = self.floor.get("entries", {})
        general = [("", metric, values) for metric, values in self.floor.items() if metric != "entries"]
        listed = [(key, metric, values) for key, by in entries.items() for metric, values in by.items()]
        messages = []
        for key, metric, values in general + listed:
            for where in ("same", "other"):
                floor, tolerance = values.get(where), self.named(key, metric, where)
                if floor is None or tolerance is None or tolerance >= floor:
                    continue
                override = f'{{"entries": "{key or "*"}", "metric": "{metric}", "{where}": {_above(floor):g}}}'
                messages.append(
                    f"tolerance {tolerance:g} for {metric} ({where} machine) is below the noise floor {floor:.3g} "
                    f"measured {f'at {key}' if key else 'over all entries'}: raise it, for example "
                    f"with {override} under tolerances.overrides"
                )
        return messages


def _above(floor: float) -> float:
    """1.5 times the floor, rounded up to two digits."""
    unit = 10 ** (math.floor(math.log10(1.5 * floor)) - 1)
    return math.ceil(1.5 * floor / unit) * unit


def _check(file: Path, name: str, values: Mapping) -> None:
    for where, value in values.items():
        if where not in WHERE:
            raise MeasureError(f"{file}: tolerance of {name} for {where!r}: choose from {', '.join(WHERE)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise MeasureError(f"{file}: tolerance of {name}, {where}: {value!r} must be a number from 0")
