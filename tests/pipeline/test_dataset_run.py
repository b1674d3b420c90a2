"""The MLflow run of a dataset: made once, completed by explore, found by training runs."""

import mlflow

from poster_ml.data.prepared import PreparedDataset
from poster_ml.pipeline.dataset_run import find_dataset_run, log_dataset_run, log_exploration
from poster_ml.tracking.runs import find_run


def test_a_dataset_gets_one_run_with_itself_as_input_that_exploration_completes(tiny_dataset, mlflow_place):
    dataset = PreparedDataset.open(tiny_dataset)
    assert find_dataset_run(dataset.fingerprint) == ""
    run_id = log_dataset_run(dataset)
    run = mlflow.MlflowClient().get_run(run_id)
    made = {**dataset.manifest["options"], **dataset.manifest["source"]}
    assert run.data.params == {name: str(value) for name, value in made.items()}
    assert run.data.metrics["train_posters"] == len(dataset.indices("train"))
    assert run.data.metrics["rows_accepted"] == 160
    assert run.inputs.dataset_inputs[0].dataset.digest == dataset.fingerprint[:32]
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run_id)}
    assert {"manifest.json", "rejected.csv"} <= names
    assert "images.npy" not in names
    assert log_dataset_run(dataset) == run_id
    assert find_dataset_run(dataset.fingerprint) == run_id
    assert find_dataset_run("0" * 64) == ""
    file = mlflow_place / "decades.png"
    file.write_bytes(b"a picture")
    assert log_exploration(dataset, [file], ["Year tells much.", "Colour tells little."]) == run_id
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run_id, "exploration")}
    assert names == {"exploration/decades.png"}
    assert find_run(run_id).tags["mlflow.note.content"] == "Year tells much.\n\nColour tells little."
