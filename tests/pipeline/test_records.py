"""What earlier versions recorded is still read."""

from __future__ import annotations

import yaml

from poster_ml.config import ExperimentConfig, to_mapping
from poster_ml.pipeline.records import recorded_config
from poster_ml.tracking.runs import find_run, open_run


def test_a_run_whose_configuration_names_options_that_were_taken_out_is_still_read(mlflow_place):
    values = to_mapping(ExperimentConfig(seed=7))
    values["train"] |= {"pretrain_epochs": 15, "pretrain_on": ["genre", "year"]}
    folder = mlflow_place / "logged"
    folder.mkdir()
    (folder / "experiment.yaml").write_text(yaml.safe_dump(values))
    with open_run("old", tags={}) as run:
        run.log_folder(folder)
    assert recorded_config(find_run(run.run_id)) == ExperimentConfig(seed=7)
