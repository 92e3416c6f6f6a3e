"""The MLflow tracker."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from noisylabels.core.locks import exclusive_lock
from noisylabels.core.opening import check_database
from noisylabels.experiment.snapshot import RunSnapshot
from noisylabels.experiment.trackers.tracker import Tracker, project_of, study_of, without_password

MOST_METRICS = 1000
"""Metrics that MLflow takes in one request."""

_RUN_ID = "noisylabels.run_id"


class MLflow(Tracker):
    """Logs into the store that MLFLOW_TRACKING_URI names, else into a local SQLite file.

    The MLflow run is found by its tag noisylabels.run_id. MLflow cannot delete single numbers: a run that
    holds other numbers than the run's folder, such as those of an earlier attempt, is deleted and replaced.
    """

    name = "mlflow"
    STATUS: ClassVar = {"running": "RUNNING", "stopped": "KILLED", "done": "FINISHED", "failed": "FAILED"}

    def __init__(self, out: Path, notify: Callable[[str], None]) -> None:
        super().__init__(out, notify)
        self._client: Any = None
        self._run = ""
        self._status = ""
        self._logged: set[tuple[str, int]] = set()  # names and epochs

    @staticmethod
    def check() -> None:
        """Import MLflow, and what its SQLite store needs if that is the one."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # else a server that is gone delays the training for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("mlflow")
            if not os.environ.get("MLFLOW_TRACKING_URI"):
                for name in ("sqlalchemy", "alembic"):  # the light package does not bring them
                    importlib.import_module(name)

    def open(self, snapshot: RunSnapshot) -> None:
        """Find the MLflow run and what it holds, or create it."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces new tables
        folder = study_of(snapshot.out) or Path.cwd()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        lock = (snapshot.out.parent if uri else folder) / ".mlflow.lock"
        if not uri:
            check_database(folder / "mlflow.db")
        uri = uri or f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or project_of(snapshot.out)
        self._logged, self._status = set(), ""
        with (
            warnings.catch_warnings(),
            exclusive_lock(lock, seconds=60),
        ):  # two processes at once break tables
            warnings.simplefilter("ignore")  # SQLAlchemy's, about how MLflow uses it
            client = MlflowClient(uri)
            experiment = _experiment(client, name)
            run = None
            for found in client.search_runs([experiment], f"tags.`{_RUN_ID}` = '{snapshot.run_id}'"):
                if run is None and (points := _points(client, found, snapshot)) is not None:
                    run, self._logged, self._status = found, points, found.info.status
                else:
                    client.delete_run(found.info.run_id)
            if run is None:
                tags = {_RUN_ID: snapshot.run_id, "noisylabels.folder": str(snapshot.out.resolve())}
                run = client.create_run(experiment, round(1000 * snapshot.began), tags, snapshot.out.name)
            params = [
                Param(name, str(value))
                for name, value in snapshot.settings.items()
                if name not in run.data.params
            ]
            if params:
                client.log_batch(run.info.run_id, params=params)
        self._client, self._run = client, run.info.run_id
        self.where = f"MLflow, experiment {name!r} of {without_password(uri)}"

    def add(self, snapshot: RunSnapshot) -> None:
        """Log the metrics that are missing, and the status if it changed."""
        from mlflow.entities import Metric

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics = [
                Metric(name, value, round(1000 * at), epoch)
                for epoch, at, values in snapshot.epochs
                for name, value in values.items()
                if (name, epoch) not in self._logged
            ]
            for k in range(0, len(metrics), MOST_METRICS):
                self._client.log_batch(self._run, metrics=metrics[k : k + MOST_METRICS])
            self._logged |= {(metric.key, metric.step) for metric in metrics}
            if (status := self.STATUS[snapshot.status]) != self._status:
                if snapshot.ended:
                    self._client.set_tag(self._run, "noisylabels.result", snapshot.result)
                if snapshot.status == "running":
                    self._client.update_run(self._run, status)
                else:
                    self._client.set_terminated(self._run, status, round(1000 * snapshot.last))
                self._status = status


def _experiment(client: Any, name: str) -> str:
    """Return the id of the experiment of that name."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


def _points(client: Any, run: Any, snapshot: RunSnapshot) -> set[tuple[str, int]] | None:
    """Return the names and epochs that an MLflow run holds; None if a number differs from the snapshot's."""
    wanted = {(name, epoch): value for epoch, _, values in snapshot.epochs for name, value in values.items()}
    names = {name for name, _ in wanted}
    last = snapshot.epochs[-1][2] if snapshot.epochs else {}
    if (
        snapshot.ended
        and run.info.status == MLflow.STATUS[snapshot.status]
        and last.items() <= run.data.metrics.items()
    ):
        return set(wanted)  # the status is set once all is logged: no need to request every number
    held: set[tuple[str, int]] = set()
    for name in names & run.data.metrics.keys():  # a user may have logged others
        for point in client.get_metric_history(run.info.run_id, name):
            at = (name, point.step)
            if at in held or wanted.get(at) != point.value:
                return None
            held.add(at)
    return held
