"""What a run says of the splits of its data: whether an image, or a near copy of it, is in two of them."""

from __future__ import annotations

from dipddpm.measure.record import Run

SHOWN = 10  # pairs that a report names; the run file has more


def splits_words(run: Run) -> str:
    """How many images were compared, and what they have in common; "" for a run that does not say."""
    found = run.splits
    if not found:
        return ""
    sizes = [f"{count:,} {split}" for split, count in found["sizes"].items()]
    listed = f"{', '.join(sizes[:-1])} and {sizes[-1]} images" if len(sizes) > 1 else f"{''.join(sizes)} images"
    without = [f"{split} was not compared: {why}" for split, why in found["left out"].items()]
    pixels = f"NOT disjoint, pairs with equal pixels: {found['equal']}" if found["equal"] else "disjoint by pixels"
    if found["known"]:
        near = f"near copies were not looked for ({found['known']})"
    elif found["near"]:
        near = f"NEAR COPIES in different splits: {found['near']}"
    else:
        near = "no near copies in different splits"
    return "; ".join([listed, *without, pixels, near]) + named(run)


def named(run: Run) -> str:
    """The first pairs by name, in brackets; "" where there are none."""
    pairs = [" and ".join(pair) for pair in run.splits.get("pairs", ())]
    count = run.splits.get("equal", 0) + run.splits.get("near", 0)
    more = f"; and {count - SHOWN} more" if count > SHOWN else ""
    return f" ({'; '.join(pairs[:SHOWN])}{more})" if pairs else ""
