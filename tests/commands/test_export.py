"""The record of runs as a file: everything about the result, nothing about the machine or a poster."""

import json

import pytest

from poster_ml.commands.export import export_record, run_export
from poster_ml.errors import TrackingError
from poster_ml.tracking.runs import RunRecord, open_run


def test_what_names_the_machine_stays_out():
    params = {"data": "/home/ann/data/prepared", "model.weights": "/srv/w/net.h5", "train.epochs": "3"}
    tags = {
        "mlflow.user": "ann", "mlflow.source.name": "/usr/bin/poster-ml", "mlflow.parentRunId": "r0",
        "weights": "/srv/w/net.h5,imagenet", "error": "OSError: /srv/w/net.h5 is gone",
        "variant": "basic_cnn", "storage": "postgresql://ann:secret@server/study",
    }  # fmt: skip
    metrics = {"val_roc_auc": 0.123456789, "loss": float("nan"), "system/cpu_utilization_percentage": 5.0}
    assert export_record(RunRecord("r1", "first", "FINISHED", params, tags, metrics)) == {
        "run_id": "r1", "name": "first", "status": "FINISHED",
        "tags": {
            "mlflow.parentRunId": "r0", "storage": "study", "variant": "basic_cnn", "weights": "net.h5,imagenet",
        },
        "params": {"data": "prepared", "model.weights": "net.h5", "train.epochs": "3"},
        "metrics": {"val_roc_auc": 0.123457, "loss": None},
    }  # fmt: skip


def test_runs_are_written_in_the_order_given(mlflow_place):
    ids = []
    for name in ("one", "two"):
        with open_run(name, tags={"variant": name}, system_metrics=False) as run:
            run.log_metrics({"val_roc_auc": 0.6})
        ids.append(run.run_id)
    out = mlflow_place / "records" / "runs.json"
    assert run_export([ids[1], ids[0], ids[1]], out).runs == 2
    written = json.loads(out.read_text())
    assert [run["name"] for run in written["runs"]] == ["two", "one"]
    assert written["runs"][0]["metrics"] == {"val_roc_auc": 0.6}
    assert str(mlflow_place) not in out.read_text()
    with pytest.raises(TrackingError, match="no run 'nonsense'"):
        run_export(["nonsense"], out)
