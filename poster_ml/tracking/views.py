"""The comparison that a person sees first in `mlflow ui`: columns, sorting and charts, behind one link.

MLflow's page keeps a shared view as JSON in a tag of the experiment, `mlflow.sharedViewState.KEY`, and opens
it by `viewStateShareKey=KEY` in the address. That is not documented: the keys of the JSON are those that the
page of MLflow 3.17 picks out of it, where it ignores others. Nothing depends on it but the link.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import mlflow

from poster_ml.tracking.store import connect, describe_outage, is_outage

logger = logging.getLogger(__name__)

KEY = "poster-ml"
DEFAULT_SERVER = "http://127.0.0.1:5000"  # of `mlflow ui`
COLUMNS = (
    "tags.`variant`",
    "params.`seed`",
    "metrics.`val_roc_auc`",
    "metrics.`val_roc_auc_ci_low`",
    "metrics.`val_roc_auc_ci_high`",
    "metrics.`test_roc_auc`",
    "metrics.`val_majority_accuracy`",
)
SECTIONS = {
    "Training curves": ("val_auc", "val_accuracy", "val_loss", "loss"),
    "Scores": ("val_roc_auc", "test_roc_auc", "val_accuracy"),
}


def say_view() -> None:
    """Writes the view and says where it is; work that is done does not fail for a link."""
    try:
        logger.info(f"Compare the runs: start `mlflow ui`, and open {shared_view()}")
    except Exception as error:
        if not is_outage(error):
            raise
        logger.warning(f"no link to the comparison: {describe_outage(error)}")


def shared_view() -> str:
    """Writes the view into the experiment, and returns the address that opens it."""
    experiment = connect()
    mlflow.MlflowClient().set_experiment_tag(
        experiment, f"mlflow.sharedViewState.{KEY}", json.dumps(_state())
    )
    store = mlflow.get_tracking_uri()
    server = store.rstrip("/") if store.startswith("http") else DEFAULT_SERVER
    return f"{server}/#/experiments/{experiment}/runs?viewStateShareKey={KEY}&compareRunsMode=CHART"


def _state() -> dict[str, Any]:
    charts = [
        _chart("LINE" if section == "Training curves" else "BAR", metric, section)
        for section, metrics in SECTIONS.items()
        for metric in metrics
    ]
    return {
        "orderByKey": "metrics.`val_roc_auc`",
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "columnOrder": COLUMNS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [
            _item(name) | {"name": name, "display": True, "isReordered": False} for name in SECTIONS
        ],
    }


def _chart(kind: str, metric: str, section: str) -> dict[str, Any]:
    chart = {"type": kind, "metricKey": metric, "metricSectionId": section}
    lines = {"selectedMetricKeys": [metric]} if kind == "LINE" else {}
    return _item(f"{section} {metric}") | chart | {"runsCountToCompare": 20} | lines


def _item(uuid: str) -> dict[str, Any]:
    return {"uuid": uuid, "deleted": False, "isGenerated": False}
