"""One trial of a search: a cheap training, logged as a child run with its curves and its true state."""

from __future__ import annotations

import gc
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.data.reading import Rows
from poster_ml.errors import TuningError
from poster_ml.quiet import load_keras, quiet_libraries
from poster_ml.tracking.runs import RunLogger, open_run
from poster_ml.tuning.trial import PrunedError, TrialContext


@dataclass(frozen=True)
class TrialDataset(PreparedDataset):
    """A dataset of which all trials see the same posters, whatever their seeds.

    With a limit, `PreparedDataset.rows` draws by the configuration's seed. Trials have seeds of their own;
    the same rows for all of them make their values comparable and let them share the feature caches.
    """

    rows_seed: int = 0

    def indices(self, split: str, limit: int = 0, seed: int = 0) -> Rows:
        """Returns the positions of a split's posters, drawn by `rows_seed`; the rest as in the base class."""
        return super().indices(split, limit, self.rows_seed)


@dataclass(frozen=True)
class TrainingObjective:
    """Trains one candidate with the settings of a trial; picklable.

    Attributes:
        config: the experiment at the trials' fidelity (limit and epochs).
        data: the prepared dataset.
        study: name of the study.
        tags: of every child run.
        parent_run_id: the study's run.
        keep: keep the checkpoints of trials that ended (Hyperband of KerasTuner continues from them).
    """

    config: ExperimentConfig
    data: Path
    study: str
    tags: dict[str, str]
    parent_run_id: str
    keep: bool = False

    def __call__(self, trial: TrialContext) -> float:
        """Returns the validation AUC of the kept epoch. Raises PrunedError where the pruner says so."""
        config = replace(self.config, **{**trial.overrides, "seed": trial.seed})
        tags = {
            **self.tags,
            "study": self.study,
            "kind": "trial",
            "trial.number": str(trial.number),
            "trial.root": str(trial.root),
            "trial.attempt": str(trial.attempt),
            "trial.seed": str(trial.seed),
        }
        with open_run(
            f"trial {trial.number}", tags=tags, parent_run_id=self.parent_run_id, system_metrics=False
        ) as run:
            trial.note("run_id", run.run_id)
            run.log_config(config)
            value = self._train(trial, config, run)
        if not self.keep:
            shutil.rmtree(trial.folder, ignore_errors=True)
        if value is None:
            raise PrunedError
        return value

    def _train(self, trial: TrialContext, config: ExperimentConfig, run: RunLogger) -> float | None:
        """Trains and logs; None where the trial was pruned."""
        quiet_libraries()  # a worker is a process of its own
        load_keras()
        import keras

        from poster_ml.pipeline.fit import fit_model
        from poster_ml.training.fit import StopTraining

        keras.backend.clear_session()
        gc.collect()
        opened = PreparedDataset.open(self.data)
        dataset = TrialDataset(opened.folder, opened.images, opened.index, opened.manifest, self.config.seed)
        reported: set[int] = set()

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            run.log_metrics(metrics, step=epoch)
            reported.add(epoch)
            if trial.report(epoch, metrics["val_auc"]):
                raise StopTraining

        # A cosine schedule is another one with more epochs: such a trial cannot continue from fewer.
        cosine = config.train.schedule == "cosine"
        folder = trial.folder / (f"epochs-{config.train.epochs}" if cosine else "all")
        try:
            candidate = fit_model(config, dataset, folder=folder, on_epoch=on_epoch)
        except StopTraining:
            run.log_metrics({"epochs": max(reported)})
            run.set_tags({"trial.state": "pruned"})
            run.end("KILLED")
            return None
        history = candidate.fit.history
        run.fill_epochs(history)
        for epoch, metrics in enumerate(history, start=1):
            if epoch not in reported:
                trial.report(epoch, metrics["val_auc"])
        value = history[candidate.fit.best_epoch - 1]["val_auc"]
        if math.isnan(value):
            raise TuningError("validation AUC is no number: the network diverged")
        # Not `val_roc_auc`: that name belongs to full runs, among which the registry looks for the best.
        run.log_metrics({"trial_val_auc": value, "epochs": len(history)})
        run.set_tags({"trial.state": "finished"})
        return value
