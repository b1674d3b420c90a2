"""`poster-ml demo`: the whole pipeline on synthetic posters, offline, in minutes."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import keras

from poster_ml.commands.evaluate import EvaluateResult, run_evaluate
from poster_ml.commands.train import train_task
from poster_ml.config import experiment_path, load_experiment
from poster_ml.evaluation.stats import with_interval
from poster_ml.files import atomic_path, open_output_folder
from poster_ml.pipeline.task import (
    DEMO_ACCURACY,
    DEMO_POSTERS,
    DEMO_SIZE,
    Task,
    demo_config,
    demo_dataset,
)
from poster_ml.pipeline.train_log import TrainResult
from poster_ml.serving.registry import Version, register_best
from poster_ml.tracking.runs import fetched
from poster_ml.tracking.store import connect, experiment_name
from poster_ml.tracking.views import shared_view

logger = logging.getLogger(__name__)

DEMO_VARIANTS = ("basic_cnn", "vgg16")


@dataclass(frozen=True)
class DemoResult:
    """What the demo did, with the numbers."""

    folder: Path
    trained: list[TrainResult]
    best: EvaluateResult
    versions: list[Version]
    view: str
    seconds: float

    def text(self) -> str:
        """Returns what was done and the next commands."""
        best = self.best.metrics
        # Where the store holds earlier runs of the demo, one of them may be the best of its family.
        own = (version for version in self.versions if version.run_id == self.best.run_id)
        served = next(own, self.versions[0])
        uri = f"models:/{served.name}@{served.alias}" if served.alias else served.uri
        trained = "\n".join(
            f"  {one.variant:<12} validation accuracy {with_interval(one.metrics, 'val_accuracy')}, "
            f"ROC AUC {one.metrics['val_roc_auc']:.3f}, {one.epochs} epochs, {one.seconds:.0f} s"
            for one in self.trained
        )
        registered = "\n".join(
            f"Registered: {version.name} version {version.number}, alias {version.alias}"
            for version in self.versions
        )
        return f"""\
The demo drew {DEMO_POSTERS} synthetic posters whose label follows from what is drawn: nobody
can be right about more than {DEMO_ACCURACY:.0%} of them. It prepared them at {DEMO_SIZE}x{DEMO_SIZE} pixels,
trained {len(self.trained)} networks and evaluated the better one on test posters, in {self.seconds:.0f} s:

{trained}

Best: {self.best.variant}, test accuracy {with_interval(best, "test_accuracy")};
majority {best["test_majority_accuracy"]:.3f}, best possible {DEMO_ACCURACY:.3f}.
{registered}

What to look at next:
  1. What the better network does, and whether to believe it: open {self.folder / "report.html"}
  2. The runs side by side: `mlflow ui`, then open {self.view}
       poster-ml compare {" ".join(one.run_id for one in self.trained)} --split val
  3. A page for posters of your own, though this network knows drawn ones only:
       pip install "poster-ml[app]"
       poster-ml app --model-uri {uri} --data {self.folder / "prepared"}
  4. The same from the command line:
       poster-ml predict --model-uri {uri} POSTER.jpg
       poster-ml explain --model-uri {uri} POSTER.jpg --out maps
  5. The model as a service:
       mlflow models serve -m {uri} --env-manager local -p 5001
  6. Your own movies, a table and a folder of posters:
       poster-ml preprocess --table movies.csv --posters posters --out data/prepared
       poster-ml train --model mobilenet_v2"""


def run_demo(out: Path) -> DemoResult:
    """Runs data, training, evaluation, explanation and registry on synthetic posters.

    Args:
        out: folder for the synthetic posters, the prepared dataset and a copy of the best run's report.

    Returns: what was done; everything is in MLflow too, tagged `profile=demo`.
    Raises: OutputError where `out` holds other files.
    """
    connect(write=True)
    started = time.perf_counter()
    open_output_folder(out, "demo")
    dataset = demo_dataset(out)
    trained = []
    for variant in DEMO_VARIANTS:
        logger.info(f"training {variant}")
        config = demo_config(load_experiment(experiment_path(variant)), set())
        trained.append(train_task(Task(config, dataset, "demo")))
        keras.backend.clear_session()
    best = max(trained, key=lambda result: result.metrics["val_roc_auc"])
    evaluated = run_evaluate(run=best.run_id, split="test")
    with fetched(best.run_id, "report.html") as report, atomic_path(out / "report.html") as temporary:
        shutil.copyfile(report, temporary)
    versions = [
        register_best(family, experiment=experiment_name(), allow_demo=True) for family in ("cnn", "vgg16")
    ]
    return DemoResult(out, trained, evaluated, versions, shared_view(), time.perf_counter() - started)
