"""One trial of a search: a cheap training, logged as a child run with curves and its true state.

Workers import this module, so it imports no Keras: the objective sets the command's backend first.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from poster_ml.config import ExperimentConfig, replace
from poster_ml.data.prepared import PreparedDataset
from poster_ml.data.reading import Rows
from poster_ml.errors import TuningError
from poster_ml.quiet import load_keras, quiet_libraries
from poster_ml.search_space import Fidelity
from poster_ml.tracking.runs import RunLogger, open_run, search_runs
from poster_ml.tracking.store import use_store
from poster_ml.tuning.trial import TrialContext


def trial_config(config: ExperimentConfig, fidelity: Fidelity) -> ExperimentConfig:
    """Returns the experiment as trials run it: fewer posters, no more epochs than it has."""
    epochs = min(fidelity.epochs or config.train.epochs, config.train.epochs)
    limits = [limit for limit in (config.max_samples, fidelity.max_samples) if limit]
    return replace(config, **{"max_samples": min(limits, default=0), "train.epochs": epochs})


@dataclass(frozen=True)
class TrialDataset(PreparedDataset):
    """A dataset of which all trials see the same posters, whatever their seeds.

    With a limit, `PreparedDataset.indices` draws by the configuration's seed. Trials have seeds of their own;
    the same rows for all of them make their values comparable and let them share the feature caches.
    """

    rows_seed: int = 0

    def indices(self, split: str, limit: int = 0, seed: int = 0) -> Rows:
        """Returns the positions of a split's posters, drawn by `rows_seed`; the rest as in the base class."""
        return super().indices(split, limit, self.rows_seed)


@dataclass(frozen=True)
class TrainingObjective:
    """Trains one network with the settings of a trial; picklable.

    Attributes:
        config: the experiment at the trials' fidelity (limit and epochs).
        data: the prepared dataset.
        tags: of every child run.
        parent_run_id: the study's run.
        store, experiment: where runs go: a worker may live in another folder than the command.
        environment: variables of the command that a worker takes over.
    """

    config: ExperimentConfig
    data: Path
    tags: dict[str, str]
    parent_run_id: str
    store: str
    experiment: str
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, trial: TrialContext) -> float | None:
        """Returns the validation AUC of the kept epoch, None where the trial was pruned."""
        os.environ.update(self.environment)
        use_store(self.store, self.experiment)
        config = replace(self.config, **{**trial.overrides, "seed": trial.seed})
        number = str(trial.number)
        tags = self.tags | {"kind": "trial", "trial.number": number, "trial.seed": str(trial.seed)}
        # Its worker or its command died before: the same run continues.
        begun = search_runs(
            f"tags.`mlflow.parentRunId` = '{self.parent_run_id}' and tags.`trial.number` = '{number}'"
        )
        with open_run(
            f"trial {number}",
            tags=tags,
            run_id=begun[0].run_id if begun else None,
            parent_run_id=self.parent_run_id,
            system_metrics=False,
        ) as run:
            run.log_config(config)
            return self._train(trial, config, run)

    def _train(self, trial: TrialContext, config: ExperimentConfig, run: RunLogger) -> float | None:
        """Trains and logs."""
        quiet_libraries()  # a worker is a process of its own
        load_keras()
        import keras

        from poster_ml.pipeline.fit import fit_network
        from poster_ml.training.fit import StopTraining

        keras.backend.clear_session()
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
            fit = fit_network(config, dataset, folder=folder, on_epoch=on_epoch).fit
        except StopTraining:
            run.log_metrics({"epochs": max(reported)})
            run.set_tags({"trial.state": "pruned"})
            run.end("KILLED")
            return None
        history = fit.history
        run.fill_epochs(history)
        for epoch, metrics in enumerate(history, start=1):
            if epoch not in reported:
                trial.report(epoch, metrics["val_auc"])
        value = history[fit.best_epoch - 1]["val_auc"]
        if math.isnan(value):
            raise TuningError("validation AUC is not a number: the network diverged")
        # Not `val_roc_auc`: that name belongs to full runs, among which the registry looks for the best.
        run.log_metrics({"trial_val_auc": value, "epochs": len(history)})
        run.set_tags({"trial.state": "finished"})
        return value
