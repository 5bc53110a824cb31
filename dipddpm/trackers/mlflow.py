"""mlflow: a run of the experiment ``dipddpm`` in an MLflow server, or in a local database."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from dipddpm.trackers import Tracker

EXPERIMENT = "dipddpm"
AT_ONCE = 100  # of a batch: the least of what a server takes of metrics, parameters and tags
LONGEST = 5000  # characters of a text that is a tag


class Mlflow(Tracker):
    """Every call is answered by the server before it returns. Nothing global of the client is set."""

    name = "mlflow"
    takes = "URI"
    meaning = "a run in this MLflow server or database: http://HOST:5000, sqlite:///mlflow.db"
    needs = "mlflow"
    extra = "mlflow"

    def __init__(self, where: str, title: str):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked to tell others of this run
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=where)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(experiment, run_name=title).info.run_id

    def settings(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self._send("params", [Param(_allowed(name), value[:LONGEST]) for name, value in values.items()])

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._send("metrics", [Metric(_allowed(name), value, now, step) for name, value in values.items()])

    def texts(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._send("tags", [RunTag(_allowed(name), value[:LONGEST]) for name, value in values.items()])

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self._run, str(path))

    def close(self) -> None:
        self._client.set_terminated(self._run)

    def _send(self, what: str, values: Sequence[object]) -> None:
        left = iter(values)
        while some := list(islice(left, AT_ONCE)):
            self._client.log_batch(self._run, **{what: some})


def _allowed(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "-", name, flags=re.ASCII)
