"""``dipddpm sweep``: the points that ``pytest bench`` with the same options collects, on an engine."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import psutil
import pytest

from dipddpm.errors import InputError
from dipddpm.measure.content import digest, read_sources
from dipddpm.measure.exit_codes import FAILED
from dipddpm.measure.instruments.machine import decides_numbers, use_threads
from dipddpm.measure.store import Store
from dipddpm.session.opening import open_experiments
from dipddpm.session.threads import remember_threads
from dipddpm.sweep.engine import Engine
from dipddpm.sweep.local import LocalEngine
from dipddpm.sweep.on_ray import RayEngine
from dipddpm.sweep.plan import Plan, Planning, plan
from dipddpm.sweep.points import Asking, Points
from dipddpm.sweep.progress import Progress
from dipddpm.sweep.sweeping import Outcome, Sweep, summary
from dipddpm.sweep.worker import Terms


def sweep(option: argparse.Namespace, say: Callable[[str], object] = print) -> int:
    """Fill the store with what the suites will ask for; the exit code.

    Args:
        option: those of a session of the suites that name its experiments and store; ``session``, what pytest is told
            to find the suites; ``keyword``, as pytest takes it; ``engine``, ``address``, ``workers``, ``threads``,
            ``gpus_per_task``, ``task_timeout``; ``worker`` (i, n), which share of the points; ``merge``, stores to take
            results over from first; ``dry_run``.
        say: is called with a line, or several, of what came of it.

    Raises:
        InputError: an option that names nothing, no cluster, or workers of another kind of machine.
    """
    use_threads(option.threads)
    store = Store(option.cache, option.device)
    for other in option.merge:
        say(f"{other}: {store.merge(other)} results taken over")
    expected = _planned(option, store)
    if option.dry_run:
        say(_of_points(expected))
        say(expected.table())
        if expected.tasks:
            say(expected.sentence(option.workers or _cores(option.threads)))
        return 0
    remember_threads(option, option.threads)
    if not (expected.tasks or expected.unknown):
        say(f"{_of_points(expected)}: nothing to do")
        return 0
    read_sources()
    engine, started = _engine(option), time.monotonic()
    try:
        outcome = _run(option, store, engine, expected)
    finally:
        engine.close()
    say(summary(outcome, time.monotonic() - started))
    for what, why in outcome.failed.items():
        say(f"failed: {what}\n{why}")
    return FAILED if outcome.failed else 0


def _engine(option: argparse.Namespace) -> Engine:
    terms = Terms(decides_numbers(), option.threads, option.task_timeout)
    if option.engine == "ray":
        return RayEngine(option.address, option.workers, option.gpus_per_task, terms)
    return LocalEngine(option.workers or _cores(option.threads), terms)


def _cores(threads: int) -> int:
    """Workers that the cores of this machine have room for."""
    return max(1, (psutil.cpu_count(logical=False) or os.cpu_count() or 1) // threads)


def _planned(option: argparse.Namespace, store: Store) -> Plan:
    """What there is to do. The experiments of a plan are its own: what they remember is made up."""
    memo, made = Planning(store), list[Plan]()
    points = Points(open_experiments(option, memo), memo, lambda points: made.append(plan(points, memo)))
    points.collect(option.session, option.keyword, _share(option))
    return made[0]


def _run(option: argparse.Namespace, store: Store, engine: Engine, expected: Plan) -> Outcome:
    memo, made = Asking(store), list[Outcome]()

    def run(points: Points) -> None:
        progress = Progress(expected.expected)
        try:
            made.append(Sweep(store, engine, expected, progress).run(points))
        finally:
            progress.close()

    Points(open_experiments(option, memo), memo, run).collect(option.session, option.keyword, _share(option))
    return made[0]


def _of_points(expected: Plan) -> str:
    parts = [f"{expected.points} points, {expected.whole} of them whole in the store"]
    if expected.left:
        parts.append(f"{expected.left} time this machine and are left to pytest bench")
    if expected.unknown:
        parts.append(f"{expected.unknown} ask for more than can be counted beforehand")
    return "; ".join(parts)


def _share(option: argparse.Namespace) -> Callable[[pytest.Item], bool]:
    """Which points are ours: those that share a DIP fit are of one share, the same on every machine."""
    i, n = option.worker
    if not 0 <= i < n:
        raise InputError(f"--worker {i}/{n}: write I/N with I from 0 to {n - 1}")
    return lambda item: int(digest(_family(item)), 16) % n == i


def _family(item: pytest.Item) -> list[str]:
    """What a point shares its fits with: its task and its DIP, or its prior, or else its suite."""
    callspec = getattr(item, "callspec", None)
    values = [v for name, v in callspec.params.items() if name != "experiments"] if callspec else []
    parts = [p for value in values for p in (value if isinstance(value, tuple) else (value,))]
    named = [getattr(p, "family", "") or getattr(p, "label", "") or getattr(p, "name", "") or p for p in parts]
    return [name for name in named if isinstance(name, str)] or [item.nodeid.partition("::")[0]]
