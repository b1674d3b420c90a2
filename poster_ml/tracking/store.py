"""Where runs are kept: MLflow's default embedded store, or what MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import mlflow
from sqlalchemy.exc import SQLAlchemyError

from poster_ml.errors import TrackingError

EXPERIMENT = "poster-ml"


def connect() -> str:
    """Prepares MLflow for this process and returns the id of the experiment `poster-ml`.

    Without MLFLOW_TRACKING_URI the store is `mlflow.db` with artifacts under `mlruns/`, both in the current
    folder: what a plain `mlflow ui` shows there.
    """
    # Creating the database logs one line per migration.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(tracking_uri())
    try:
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(EXPERIMENT)
    except (SQLAlchemyError, mlflow.MlflowException, OSError) as error:
        detail = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise TrackingError(
            f"the store {mlflow.get_tracking_uri()} cannot be used ({detail}): mend or move it away, or name "
            "another with MLFLOW_TRACKING_URI"
        ) from error
    if found is not None:
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(EXPERIMENT))
    except mlflow.MlflowException:
        # Another process was first.
        again = client.get_experiment_by_name(EXPERIMENT)
        if again is None:
            raise
        return str(again.experiment_id)


def tracking_uri() -> str:
    """Returns the store in use: one that was set, MLFLOW_TRACKING_URI, or `mlflow.db` in this folder."""
    if os.environ.get("MLFLOW_TRACKING_URI") or mlflow.is_tracking_uri_set():
        return str(mlflow.get_tracking_uri())
    return f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def journal_folder() -> Path:
    """Returns the folder beside the MLflow store, where tuning keeps its journal."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).resolve().parent
    return Path.cwd()
