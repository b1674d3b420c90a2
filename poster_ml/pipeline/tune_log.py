"""A study and its run in MLflow: trials run, logged as children with true states, summed up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import yaml

from poster_ml.cluster import open_cluster
from poster_ml.config import ExperimentConfig, experiment_path, load_experiment
from poster_ml.data.prepared import PreparedDataset
from poster_ml.errors import mask_passwords
from poster_ml.pipeline.features import feature_cache_folder
from poster_ml.pipeline.task import Task, run_tags
from poster_ml.pipeline.tune_objective import TrainingObjective
from poster_ml.pipeline.tune_options import TuneOptions, work_folder
from poster_ml.search_space import SearchSpace
from poster_ml.tracking.runs import RunLogger, RunRecord, open_run, search_runs
from poster_ml.tracking.store import experiment_name, shared_uri, store_folder
from poster_ml.tuning.results import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    best_trials,
    counted_trials,
    draw_figures,
    importances,
    trials_table,
)
from poster_ml.tuning.search import Job, run_search
from poster_ml.tuning.space import default_points, dimensions_of, overrides
from poster_ml.tuning.study import OpenStudy
from poster_ml.validation import assign

STATUS = {FINISHED: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED", INTERRUPTED: "FAILED"}


@contextmanager
def open_study_log(
    opened: OpenStudy, task: Task, space: SearchSpace, options: TuneOptions
) -> Iterator[StudyLog]:
    """Opens the run of a study: the one that it has, or a new one."""
    name, storage = opened.spec.name, mask_passwords(opened.spec.storage)
    shared = run_tags(task) | {"study": name}
    tags = shared | {
        "kind": "study",
        "storage": storage,
        "engine": options.engine,
        "sampler": options.sampler,
        "pruner": options.pruner,
        "search_space": space.fingerprint(),
        "trials": str(options.trials),
        "workers": str(options.workers),
    }
    found = search_runs(f"tags.kind = 'study' and tags.study = '{name}'")
    same = [run.run_id for run in found if run.tags.get("storage") == storage]
    with open_run(f"study {name}", tags=tags, run_id=same[-1] if same else None) as run:
        yield StudyLog(run, opened, space, shared)


def children(parent_run_id: str) -> list[RunRecord]:
    """Lists the runs under a parent, the newest first."""
    return search_runs(f"tags.`mlflow.parentRunId` = '{parent_run_id}'", limit=5000)


@dataclass(frozen=True)
class StudyLog:
    """Runs a study's trials and logs its progress to its run; child runs get its `tags`, too."""

    run: RunLogger
    opened: OpenStudy
    space: SearchSpace
    tags: dict[str, str]

    def run_trials(self, config: ExperimentConfig, dataset: PreparedDataset, options: TuneOptions) -> None:
        """Runs the trials that are missing: KerasTuner's in this process, Optuna's on a cluster.

        Args:
            config: the experiment as trials run it.
            dataset: what they are trained on.
            options: of the command.
        """
        opened = self.opened
        folders = (work_folder(opened.spec.name), feature_cache_folder(), dataset.folder)
        folder, cache, data = (path.resolve() for path in folders)
        folder.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        environment = {
            "POSTER_ML_CACHE": str(cache),
            "KERAS_BACKEND": self.tags["backend"],
            "TF_FORCE_GPU_ALLOW_GROWTH": os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "true"),
        }
        where = (shared_uri(), experiment_name())
        own = default_points(
            self.space, config, load_experiment(experiment_path(self.space.variant, "study"))
        )
        job = Job(
            space=self.space,
            objective=TrainingObjective(config, data, self.tags, self.run.run_id, *where, environment),
            trials=options.trials,
            folder=folder,
            points=tuple(own) if options.own_settings else (),
            deadline=time.time() + 60 * options.timeout if options.timeout else 0.0,
            paths=(folder, cache, data, store_folder()),
        )
        if options.engine == "keras-tuner":
            from poster_ml.tuning.keras_tuner_engine import run_keras_tuner

            run_keras_tuner(job, opened, self.after_trial)
            return
        workers = min(options.workers, options.trials - opened.counted())
        with open_cluster(workers, options.scheduler, dashboard=options.dashboard, paths=job.paths) as client:
            run_search(job, opened, client, self.after_trial)

    def after_trial(self) -> None:
        """Logs the value of each counted trial and the best so far; steps are their order of ending."""
        counted = counted_trials(trials_table(self.opened, self.space))
        rows = counted[["val_auc", "best_val_auc"]].astype(float)
        self.run.fill_epochs([dict(row.dropna()) for _, row in rows.iterrows()])

    def finish(self) -> pd.DataFrame:
        """Logs table, figures, importance and best settings; returns the table. No trial runs any more."""
        self.after_trial()
        table = trials_table(self.opened, self.space)
        self._settle_children(table)
        counts = {f"trials_{state}": int((table["state"] == state).sum()) for state in STATUS}
        self.run.log_metrics(counts | {"epochs_run": int(counted_trials(table)["epochs"].sum())})
        with self.run.results("study") as folder:
            shares = importances(self.opened)
            draw_figures(self.opened, shares, folder)
            if len(shares):
                shares.to_csv(folder / "importance.csv", index_label="dimension")
            table.to_csv(folder / "trials.csv", index=False)
            for best in best_trials(table, 1):
                sections: dict[str, object] = {}
                for key, value in overrides(self.space, best).items():
                    assign(sections, key, value)
                found = f"# Trial {best['number']}: validation AUC {best['val_auc']:.4f}"
                text = f"{found} at the trials' fidelity\n{yaml.safe_dump(sections, sort_keys=False)}"
                (folder / "best_parameters.yaml").write_text(text, encoding="utf-8")
                self.run.log_metrics({"best_trial": best["number"]})
        return table

    def _settle_children(self, table: pd.DataFrame) -> None:
        """Gives the child runs of killed processes their true state: what the study says, it is."""
        states = dict(zip(table["number"].astype(str), table["state"], strict=True))
        for child in children(self.run.run_id):
            state = states.get(child.tags.get("trial.number", ""))
            if state is None or child.status == STATUS[state]:
                continue
            logger = RunLogger(child.run_id)
            logger.set_tags({"trial.state": state})
            if state == INTERRUPTED:
                logger.set_tags({"error": "interrupted: repeat the command to continue it"})
            logger.end(STATUS[state])


def describe_best(table: pd.DataFrame, space: SearchSpace) -> str:
    """Says in one line what the best trial is, and in another why the first one failed where any did."""
    errors = [" ".join(error.split()) for error in table["error"] if error]
    failed = f"\n{len(errors)} failed, the first: {errors[0][:300]}" if errors else ""
    for best in best_trials(table, 1):
        drawn = ", ".join(
            f"{name} {best[name]:.3g}" if isinstance(best[name], float) else f"{name} {best[name]}"
            for name in dimensions_of(space)
        )
        return f"best: trial {best['number']}, validation AUC {best['val_auc']:.4f} ({drawn}){failed}"
    return f"no trial finished{failed}"
