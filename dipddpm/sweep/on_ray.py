"""The engine of many machines: a Ray cluster. Results come home to the driver, inputs go to each node once.

The extra ``dipddpm[ray]`` brings Ray. Nodes need the same dipddpm and the same kind of machine as the driver, and no
data: photographs and networks travel through Ray's object store.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from dipddpm.documents import brief
from dipddpm.errors import InputError
from dipddpm.sweep.engine import ATTEMPTS
from dipddpm.sweep.parcels import Parcel
from dipddpm.sweep.worker import Answer, Terms, answer

PARTS = 1024  # inputs that are kept in the object store at most
LOOK_EVERY = 2.0  # seconds between two looks at the nodes


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray: Ray is not installed: pip install 'dipddpm[ray]'") from error
    return ray


def work(key: str, content: bytes, names: list[str], parts: list[Any], terms: Terms) -> Answer:
    """The task that Ray runs.

    Args:
        parts: references to the parts of these names; what this process has already is not fetched.
    """
    at = dict(zip(names, parts, strict=True))
    return answer(key, content, lambda name: _ray().get(at[name]), terms)


class RayEngine:
    """The workers of a Ray cluster.

    Args:
        address: of a running cluster, as ``ray.init`` takes it; "" for the one of ``RAY_ADDRESS``, or a new one on this
            machine.
        workers: of a new cluster, one for each core by default.
        gpus_per_task: what of a GPU a task asks for; of CPUs it asks for as many as it has threads.

    Raises:
        InputError: no Ray here, or no cluster at the address.
    """

    def __init__(self, address: str, workers: int | None, gpus_per_task: float, terms: Terms):
        self.ray, self.gpus, self.terms = _ray(), gpus_per_task, terms
        self._owns = not self.ray.is_initialized()
        if self._owns:
            self._connect(address, workers)
        needs = {"num_cpus": terms.threads, "num_gpus": gpus_per_task}
        # A worker that dies, of a kill or with its node, is no fault of the task: Ray gives it to another one.
        self._work = self.ray.remote(**needs, max_retries=ATTEMPTS - 1, retry_exceptions=False)(work)
        self._running: dict[Any, Parcel] = {}
        self._parts: OrderedDict[str, Any] = OrderedDict()
        self._news: list[str] = []
        self._looked, self._nodes = 0.0, dict[str, dict[str, Any]]()
        self._look()

    def _connect(self, address: str, workers: int | None) -> None:
        options: dict[str, Any] = {"address": address} if address else {}
        if not address and "RAY_ADDRESS" not in os.environ:
            options = {"address": "local", "num_cpus": workers * self.terms.threads if workers else None}
        try:
            self._started(options)
        except Exception as error:  # Ray raises many kinds, a plain one among them
            raise InputError(f"--engine ray, address {address or 'of its own'}: no cluster ({brief(error)})") from error

    def _started(self, options: Mapping[str, Any]) -> None:
        """Connect; a cluster of our own that a busy machine does not start in time is started once more."""
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            self.ray.init(**options, **quiet)
        except Exception:
            self.ray.shutdown()
            if options.get("address") != "local":
                raise
            self.ray.init(**options, **quiet)

    def _look(self) -> None:
        """Which nodes there are, now and then: some die, others join."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        alive = {node["NodeID"]: node for node in self.ray.nodes() if node["Alive"]}
        if self._nodes:
            for name, node in self._nodes.items():
                if name not in alive:
                    where = f"node {name[:8]} ({node['NodeManagerHostname']})"
                    self._news.append(f"{where} is gone: what ran there runs again elsewhere, {self._left(alive)}")
            for name in alive.keys() - self._nodes.keys():
                self._news.append(f"node {name[:8]} ({alive[name]['NodeManagerHostname']}) has joined")
        self._looked, self._nodes = time.monotonic(), alive

    @staticmethod
    def _left(alive: Mapping[str, Any]) -> str:
        return f"{len(alive)} node{'s' * (len(alive) != 1)} left"

    @property
    def workers(self) -> int:
        self._look()
        total = 0
        for node in self._nodes.values():
            fits = int(node["Resources"].get("CPU", 0) // self.terms.threads)
            total += min(fits, int(node["Resources"].get("GPU", 0) / self.gpus)) if self.gpus else fits
        return total

    def room(self) -> int:
        """A quarter more than run at once: a worker need not wait for the driver, and the dearest still go first."""
        slots = self.workers
        return slots + slots // 4 - len(self._running)

    def submit(self, parcel: Parcel) -> None:
        for name, written in parcel.parts.items():
            if name not in self._parts:
                self._parts[name] = self.ray.put(written)
            self._parts.move_to_end(name)
        names = list(parcel.parts)
        # In a list, references stay references: Ray would bring what they stand for along otherwise.
        references = [self._parts[name] for name in names]
        running = self._work.options(name=f"{parcel.kind} {parcel.key[:8]}").remote(
            parcel.key, parcel.content, names, references, self.terms
        )
        self._running[running] = parcel
        while len(self._parts) > PARTS:
            self._parts.popitem(last=False)

    def answers(self, seconds: float) -> list[Answer]:
        self._look()
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self.ray.wait(list(self._running), num_returns=1, timeout=seconds)
        if done:  # and whatever else is done by now
            done, _ = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [self._answer(running, self._running.pop(running)) for running in done]

    def _answer(self, running: Any, parcel: Parcel) -> Answer:
        try:
            return self.ray.get(running)
        except self.ray.exceptions.RayError as error:
            return Answer(parcel.key, error=f"{parcel.kind} {parcel.key}: {brief(error)}")

    def news(self) -> list[str]:
        told, self._news = self._news, []
        return told

    def close(self) -> None:
        for running in self._running:
            self.ray.cancel(running, force=True)
        if self._owns:
            self.ray.shutdown()
