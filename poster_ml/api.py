"""poster-ml from Python: the commands `train`, `evaluate` and `predict` as functions.

    import poster_ml

    trained = poster_ml.train("mobilenet_v2", data="data/prepared")
    tested = poster_ml.evaluate(f"runs:/{trained.run_id}/model")
    table = poster_ml.load_model(f"runs:/{trained.run_id}/model").predict("posters")

Runs, models and the registry are where MLflow keeps them: `mlflow.db` in the working folder, or
what MLFLOW_TRACKING_URI names. What cannot be done raises a `poster_ml.errors.PosterMLError` in the
words of the command line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poster_ml.errors import ConfigError
from poster_ml.quiet import load_keras, quiet_libraries

if TYPE_CHECKING:
    from pandas import DataFrame

    from poster_ml.commands.evaluate import EvaluateResult
    from poster_ml.pipeline.poster_files import ScoreTask
    from poster_ml.pipeline.train_log import TrainResult

AnyPath = str | os.PathLike[str]
Settings = Mapping[str, Any]


def train(
    variant: str = "",
    *,
    data: AnyPath | None = None,
    experiment: AnyPath | None = None,
    settings: Settings | None = None,
    protocol: str = "",
) -> TrainResult:
    """Trains one variant, evaluates it on validation posters and logs everything to MLflow.

    Args:
        variant: a name under `experiments/`, as "mobilenet_v2"; may be empty with `experiment`.
        data: folder of a prepared dataset; None takes `data/prepared`, else the demo profile.
        experiment: a YAML file instead of the variant's own.
        settings: by dotted key, as `--set` takes them: `{"train.epochs": 5}`.
        protocol: "sound" (also where empty) or "study".

    Returns:
        `run_id`, `metrics` by name (`val_roc_auc`, its interval `val_roc_auc_ci_low` to
            `val_roc_auc_ci_high`), `best_epoch`, `epochs`, `seconds`, `variant`, `profile`. The
            model is at `runs:/RUN_ID/model`.

    Raises:
        ConfigError: with every fault of the settings at once.
        DatasetError: where there is no such dataset, or it was changed.
        WeightsError: where ImageNet's weights cannot be had.
        TrackingError: where the store cannot be used.
    """
    from poster_ml.pipeline.preflight import check_training, open_named

    overrides = _overrides(settings)
    config = check_training(variant, _path(experiment), overrides, protocol)
    dataset = open_named(_path(data))
    _load_libraries()
    from poster_ml.commands.train import run_train

    return run_train(config, dataset, overrides)


def evaluate(
    uri: str,
    *,
    data: AnyPath | None = None,
    split: str = "test",
    settings: Settings | None = None,
) -> EvaluateResult:
    """Evaluates a model in full on one split and adds the evaluation to the run that made it.

    Args:
        uri: runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION.
        data: folder of a prepared dataset; None takes the one that the model was trained on.
        split: train, val or test.
        settings: keys of the sections `evaluate` and `explain`: `{"evaluate.bootstrap": 500}`.

    Returns:
        `metrics` by name (`test_roc_auc`, its interval `test_roc_auc_ci_low` to `_ci_high`),
            `findings` as sentences, `posters` (how many), `split`, `variant`, `run_id`.

    Raises:
        ConfigError: for settings that are of the training.
        DatasetError: where there is no such dataset, or its posters have another size.
        RegistryError: where there is no such model.
        TrackingError: where its run is unknown.
    """
    _load_libraries()
    from poster_ml.commands.evaluate import run_evaluate

    return run_evaluate(model_uri=uri, data=_path(data), split=split, overrides=_overrides(settings))


def load_model(uri: str) -> Model:
    """Loads a model as it is served.

    Args:
        uri: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or a folder.

    Returns:
        What scores posters: see `Model.predict`.

    Raises:
        RegistryError: where there is none, or it cannot be loaded.
    """
    _load_libraries()
    from poster_ml.pipeline.poster_files import score_task

    task, _, _ = score_task(uri, here=True)
    return Model(uri, task)


class Model:
    """A trained model: image files in, probabilities out. Made by `load_model`.

    Attributes:
        uri: what it was loaded from.
        served: the mlflow PyFuncModel, which takes tables of image bytes.
    """

    def __init__(self, uri: str, task: ScoreTask) -> None:
        self.uri = uri
        self.served = task.load()
        self._task = task

    def predict(self, posters: AnyPath | Sequence[AnyPath], *, batch_size: int = 64) -> DataFrame:
        """Scores posters.

        Args:
            posters: one or many image files, folders (with everything below them) and tables (.csv
                with `image` or `path`, optionally `year` and `genres`).
            batch_size: posters per forward pass, at least 1.

        Returns:
            A row per poster: `poster` (its path), `probability_fresh` in [0, 1], `label` "Fresh" or
                "Rotten", `threshold`, `error` (None, or why this one could not be scored), and
                where year or genres were given `probability_metadata`, `probability_combined`,
                `poster_effect`, `note`.

        Raises:
            DatasetError: for a missing path, a folder without images or a table without posters.
        """
        import pandas as pd

        from poster_ml.pipeline import poster_files

        named = [posters] if isinstance(posters, str | os.PathLike) else posters
        paths = [Path(poster) for poster in named]
        poster_files.check_posters(paths)
        paths, facts = poster_files.read_tables(paths)
        found = poster_files.walk_posters(paths)
        rows = poster_files.score_files(None, self._task, found, batch_size, facts)
        return pd.concat(rows, ignore_index=True)


def _load_libraries() -> None:
    quiet_libraries()
    load_keras()


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def _overrides(settings: Settings | None) -> tuple[str, ...]:
    """Returns settings as `--set` takes them; JSON is YAML."""
    given = {} if settings is None else settings
    if not isinstance(given, Mapping):
        allowed = 'a mapping by dotted key, such as {"train.epochs": 5}'
        raise ConfigError([f"settings: received {given!r}, allowed: {allowed}"])
    return tuple(f"{key}={json.dumps(value, default=str)}" for key, value in given.items())
