"""What readers see of a record: names without underscores, roles in plain words, and the first stage of an arm."""

from __future__ import annotations

import re

from dipddpm.report.contrast import Sample

ROLE_WORDS = {  # in the order in which figures draw them
    "bound": "bound, saw the target",
    "ablation": "ablation",
    "part": "prior alone",
    "treatment": "treatment",
    "control": "control",
}


def words(name: str) -> str:
    """A name from the code as readers see it: without underscores and colons."""
    return re.sub("[_:]", " ", name)


def name_at(sample: Sample) -> str:
    """Arm and budget."""
    return words(sample.record.arm) + (f" at {sample.record.budget} NFE" if sample.record.budget else "")


def architecture(sample: Sample) -> str:
    """Architecture of the first stage; "" for an arm without one."""
    return str(sample.record.axes.get("architecture") or "")


def iterations(sample: Sample) -> int:
    """Duration of the first stage, a mean over images where it differs; 0 for an arm without one."""
    return round(float(str(sample.record.axes.get("iterations") or 0)))
