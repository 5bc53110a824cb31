"""The Pareto front of costs and values."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], values: Sequence[float], higher_is_better: bool = True) -> list[int]:
    """The points that no other point beats. One beats another if it is no dearer and no worse, and not equal to it.

    Of equal points the first is kept.

    Args:
        costs: (n,), lower is better.
        values: (n,).

    Returns:
        Indices into the points, by rising cost.
    """
    sign = 1 if higher_is_better else -1
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -sign * values[i])):
        if not front or sign * values[i] > sign * values[front[-1]]:
            front.append(i)
    return front
