"""The shared view is a tag that MLflow takes, and its link is one of the server where the runs are."""

import json
import logging

import mlflow
from sqlalchemy.exc import OperationalError

from poster_ml.tracking import views


def stored() -> dict:
    tags = mlflow.get_experiment_by_name("poster-ml").tags
    return json.loads(tags["mlflow.sharedViewState.poster-ml"])


def test_the_link_opens_the_view_that_was_written_with_every_chart_in_a_section(mlflow_store):
    address = views.shared_view()
    experiment = mlflow.get_experiment_by_name("poster-ml").experiment_id
    path = f"#/experiments/{experiment}/runs?viewStateShareKey=poster-ml&compareRunsMode=CHART"
    assert address == f"http://127.0.0.1:5000/{path}"
    assert stored()["orderByKey"] == "metrics.`val_roc_auc`"
    assert views.shared_view() == address  # once more for every run
    charts, sections = stored()["compareRunCharts"], stored()["compareRunSections"]
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"] for section in sections}
    assert len({chart["uuid"] for chart in charts}) == len(charts) == 7
    assert {chart["type"] for chart in charts} == {"LINE", "BAR"}


def test_a_store_that_fails_costs_the_link_only(mlflow_store, monkeypatch, caplog):
    def fail(*_):
        raise OperationalError("", {}, Exception("disk I/O error"))

    monkeypatch.setattr(views, "shared_view", fail)
    with caplog.at_level(logging.WARNING, "poster_ml"):
        views.say_view()
    assert "no link to the comparison" in caplog.text
    assert "disk I/O error" in caplog.text
