"""Runs are opened whole: whatever kills the process, the store never holds a run without its place."""

from typing import Any

import mlflow
import pytest

from poster_ml.data.prepared import PreparedDataset
from poster_ml.tracking.runs import RunLogger, find_run, open_run


def test_a_run_has_its_tags_and_its_parent_from_its_first_moment(mlflow_place, monkeypatch):
    """The process dies right behind the creation: nothing that comes later can mend the run."""
    with open_run("study", tags={"kind": "study"}) as parent:
        pass
    create_run = mlflow.MlflowClient.create_run
    created: list[str] = []

    class Killed(BaseException):
        pass

    def create_and_die(client: mlflow.MlflowClient, *args: Any, **kwargs: Any) -> None:
        created.append(create_run(client, *args, **kwargs).info.run_id)
        raise Killed

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_and_die)
    with (
        pytest.raises(Killed),
        open_run("trial 3", tags={"kind": "trial", "trial.number": "3"}, parent_run_id=parent.run_id),
    ):
        pass
    (run_id,) = created
    orphan = find_run(run_id)
    assert (orphan.status, orphan.name) == ("RUNNING", "trial 3")
    assert orphan.tags["kind"] == "trial"
    assert orphan.tags["trial.number"] == "3"
    assert orphan.tags["mlflow.parentRunId"] == parent.run_id
    assert orphan.tags["git_commit"]


def test_a_dataset_becomes_the_input_of_a_run_that_is_closed_and_opens_no_other(tiny_dataset, mlflow_place):
    """`evaluate` adds its dataset to the run of the training, which has ended."""
    dataset = PreparedDataset.open(tiny_dataset)
    with open_run("training", tags={}, system_metrics=False) as run:
        pass
    RunLogger(run.run_id).log_dataset(dataset, "evaluation test")
    assert mlflow.active_run() is None
    (given,) = mlflow.MlflowClient().get_run(run.run_id).inputs.dataset_inputs
    assert given.dataset.digest == dataset.fingerprint[:32]
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "evaluation test"}
    assert '"name": "label"' in given.dataset.schema, "a warning is an error here, and leaves no schema"
