"""One MLflow run: opened, filled, closed with its true state; and runs found again."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.utils.time import get_current_time_millis
from sqlalchemy.exc import SQLAlchemyError

from poster_ml.config import REPOSITORY, ExperimentConfig, flatten, to_yaml
from poster_ml.data.reading import PreparedDataset
from poster_ml.errors import TrackingError, mask_passwords
from poster_ml.tracking.store import connect, describe_outage, experiment_name, is_outage


@dataclass(frozen=True)
class RunRecord:
    """A run as it stands in the store."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def variant(self) -> str:
        """The variant that was trained, or an empty text."""
        return self.tags.get("variant", "")


class RunLogger:
    """Writes to one run. Every method may be called any number of times."""

    def __init__(self, run_id: str) -> None:
        """Takes the id of a run that exists."""
        self.run_id = run_id
        self._client = mlflow.MlflowClient()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters without passwords; MLflow cuts texts longer than 6,000 characters."""
        self._client.log_batch(self.run_id, params=[Param(*item) for item in _masked(params).items()])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags without passwords, replacing those of the same name."""
        self._client.log_batch(self.run_id, tags=[RunTag(*tag) for tag in _masked(tags).items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs numbers; values that are not numbers (NaN) are logged as NaN, never dropped."""
        now = get_current_time_millis()
        items = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=items)

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Logs what a finished network is evaluated by, as the last word on a metric that epochs have too.

        MLflow shows the value of the highest step: `val_accuracy` of the kept network would hide
        behind that of the last epoch.
        """
        epochs = [item.step for item in self._client.get_metric_history(self.run_id, "val_accuracy")]
        self.log_metrics(metrics, step=max(epochs, default=0))

    def fill_epochs(self, history: Sequence[Mapping[str, float]]) -> None:
        """Logs the epochs (from 1) that a killed process had finished but not logged."""
        logged = {item.step for item in self._client.get_metric_history(self.run_id, "val_auc")}
        for epoch, metrics in enumerate(history, start=1):
            if epoch not in logged:
                self.log_metrics(metrics, step=epoch)

    def log_config(self, config: ExperimentConfig) -> None:
        """Logs the resolved configuration: flat parameters and `experiment.yaml`."""
        self.log_params(flatten(config))
        self._client.log_text(self.run_id, to_yaml(config), "experiment.yaml")

    def log_dataset(self, dataset: PreparedDataset, context: str) -> None:
        """Logs the prepared dataset as input of the run; its digest is the fingerprint."""
        # MLflow's schema has no nullable numbers and no objects.
        known = {"Int64": "float64", "Float64": "float64", "object": "string"}
        index, folder = dataset.index, dataset.folder.resolve()
        types = {name: known[str(kind)] for name, kind in index.dtypes.items() if str(kind) in known}
        with warnings.catch_warnings():
            # MLflow warns that a folder is a local folder, and that whole numbers cannot be missing.
            warnings.simplefilter("ignore", UserWarning)
            source = mlflow.data.from_pandas(
                index.astype(types),
                source=str(folder),
                targets="label",
                name=folder.name,
                digest=dataset.fingerprint[:32],
            ).to_dict()  # infers the schema
        tags = [InputTag("mlflow.data.context", context)]
        self._client.log_inputs(self.run_id, [DatasetInput(Dataset(**source), tags)])

    @contextmanager
    def results(self, artifact_path: str | None = None) -> Iterator[Path]:
        """Gives an empty folder to fill; logs every file of it when the block ends well."""
        with TemporaryDirectory() as folder:
            yield Path(folder)
            self._client.log_artifacts(self.run_id, folder, artifact_path)

    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        """Logs one file."""
        self._client.log_artifact(self.run_id, str(file), artifact_path)

    def end(self, status: str) -> None:
        """Sets the final state now: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status)


@contextmanager
def open_run(
    name: str,
    *,
    tags: Mapping[str, str],
    run_id: str | None = None,
    parent_run_id: str | None = None,
    system_metrics: bool = True,
) -> Iterator[RunLogger]:
    """Opens a run in the experiment, makes it MLflow's active run, and closes it truthfully.

    Under `mlflow run` the run that MLflow opened is used when it is in this experiment; otherwise it gets a
    tag and a note that lead to ours, because a run cannot move between experiments.

    Args:
        name: what people see in the list.
        tags: set at the start; `git_commit` is added.
        run_id: an existing run to continue.
        parent_run_id: the run that this one is shown under.
        system_metrics: sample processor and memory.

    Yields: the logger. The run ends FINISHED; KILLED when interrupted; FAILED, with the error as tag
        `error`, when anything else is raised. A run ended inside by `logger.end` keeps that state.

    Raises: TrackingError where the store takes no runs, or fails while the run is open; it says then what
        is kept.
    """
    experiment = connect(write=True)
    outer = os.environ.pop("MLFLOW_RUN_ID", None)
    if outer and run_id is None and parent_run_id is None:
        run_id = outer if _experiment_of(outer) == experiment else None
        outer = None if run_id else outer
    all_tags = _masked(tags) | {"git_commit": git_commit(), "mlflow.runName": name}
    if parent_run_id:
        all_tags["mlflow.parentRunId"] = parent_run_id
    mlflow.set_system_metrics_sampling_interval(5)
    active = mlflow.start_run(
        run_id=run_id,
        experiment_id=None if run_id else experiment,
        run_name=None if run_id else name,
        parent_run_id=None if run_id else parent_run_id,
        tags=all_tags,  # with the run itself: a process killed right here leaves no run without its parent
        log_system_metrics=system_metrics,
        nested=mlflow.active_run() is not None,
    )
    logger = RunLogger(active.info.run_id)
    if "error" in active.data.tags:  # of the attempt before; this one may end well
        mlflow.MlflowClient().delete_tag(logger.run_id, "error")
    if outer:
        # A trace in the run that `mlflow run` opened in another experiment.
        note = f"Results: experiment `{experiment_name()}`, run `{logger.run_id}`."
        RunLogger(outer).set_tags({"poster_ml.run_id": logger.run_id, "mlflow.note.content": note})
    try:
        yield logger
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
        with suppress(SQLAlchemyError, mlflow.MlflowException):  # a store that is gone hides no error
            logger.set_tags({"error": f"{type(error).__name__}: {error}"[:5000]})
            mlflow.end_run(status)
        if is_outage(error):
            raise TrackingError(
                f"{describe_outage(error)}; the run {name!r} ({logger.run_id}) is kept up to this point, "
                f"with its checkpoints: `poster-ml train --resume {logger.run_id}` continues one that "
                "trained, any other command is repeated"
            ) from error
        raise
    stored = mlflow.MlflowClient().get_run(logger.run_id).info.status
    mlflow.end_run(stored if stored in ("KILLED", "FAILED") else "FINISHED")


def find_run(run_id: str) -> RunRecord:
    """Looks a run up.

    Raises: TrackingError where there is no such run.
    """
    connect()
    try:
        run = mlflow.MlflowClient().get_run(run_id)
    except mlflow.MlflowException as error:
        store = mask_passwords(mlflow.get_tracking_uri())
        raise TrackingError(f"no run {run_id!r} in {store}: give an id that `mlflow ui` shows") from error
    return _record(run)


def run_of_model(model_uri: str) -> str:
    """Returns the id of the run that made a model.

    Raises: TrackingError where the model cannot be found or names no run.
    """
    connect()
    try:
        run_id = mlflow.models.get_model_info(model_uri).run_id
    except (mlflow.MlflowException, OSError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise TrackingError(
            f"no model at {model_uri!r} ({detail}): give models:/NAME@ALIAS, runs:/RUN_ID/model or a folder"
        ) from error
    if not run_id:
        raise TrackingError(f"the model {model_uri!r} names no run: evaluate its run with --run RUN_ID")
    return str(run_id)


def search_runs(query: str = "", *, limit: int = 1000) -> list[RunRecord]:
    """Lists runs of the experiment, the newest first.

    Args:
        query: MLflow's filter language, for example `tags.variant = 'vgg16'`.
        limit: how many at most.
    """
    experiment = connect()
    found = mlflow.MlflowClient().search_runs(
        [experiment], query, max_results=limit, order_by=["attributes.start_time DESC"]
    )
    return [_record(run) for run in found]


@contextmanager
def fetched(run_id: str, path: str) -> Iterator[Path]:
    """Gives a copy of an artifact for the time of the block.

    Raises: TrackingError where the run has no such artifact.
    """
    connect()
    with TemporaryDirectory() as folder:
        try:
            copy = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=folder)
        except (mlflow.MlflowException, OSError) as error:
            raise TrackingError(f"run {run_id} has no artifact {path!r}; was it finished?") from error
        yield Path(copy)


def git_commit() -> str:
    """Returns the commit of the project, "-dirty" behind it where files are changed, or "unknown".

    An installed package lies in nobody's repository, or in one of something else.
    """
    if not (REPOSITORY / "pyproject.toml").is_file():
        return "unknown"
    try:
        arguments = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _record(run: Run) -> RunRecord:
    info, data = run.info, run.data
    return RunRecord(
        info.run_id, info.run_name or "", info.status, dict(data.params), dict(data.tags), dict(data.metrics)
    )


def _masked(texts: Mapping[str, Any]) -> dict[str, str]:
    return {key: mask_passwords(str(value)) for key, value in texts.items()}


def _experiment_of(run_id: str) -> str:
    try:
        return str(mlflow.MlflowClient().get_run(run_id).info.experiment_id)
    except mlflow.MlflowException as error:
        raise TrackingError(
            f"MLFLOW_RUN_ID={run_id} is not a run of {mask_passwords(mlflow.get_tracking_uri())}: unset it; "
            "under `mlflow run` give MLFLOW_TRACKING_URI with the whole path, sqlite:////FOLDER/mlflow.db"
        ) from error
