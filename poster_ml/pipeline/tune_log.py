"""A study in MLflow: the parent run with its figures, and children whose states are made true."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import pandas as pd
import yaml

from poster_ml.errors import mask_passwords
from poster_ml.pipeline.tune_options import TuneOptions
from poster_ml.search_space import SearchSpace
from poster_ml.tracking.runs import RunLogger, RunRecord, open_run, search_runs
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
from poster_ml.tuning.space import dimensions_of, overrides
from poster_ml.tuning.study import OpenStudy

STATUS = {FINISHED: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED", INTERRUPTED: "FAILED"}


def open_study_run(
    opened: OpenStudy, shared_tags: dict[str, str], space: SearchSpace, options: TuneOptions
) -> AbstractContextManager[RunLogger]:
    """Opens the run of a study: the one that it has, or a new one."""
    name, storage = opened.spec.name, mask_passwords(opened.spec.storage)
    tags = shared_tags | {
        "kind": "study",
        "study": name,
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
    return open_run(f"study {name}", tags=tags, run_id=same[-1] if same else None)


def children(parent_run_id: str) -> list[RunRecord]:
    """Lists the runs under a parent, the newest first."""
    return search_runs(f"tags.`mlflow.parentRunId` = '{parent_run_id}'", limit=5000)


@dataclass(frozen=True)
class StudyLog:
    """Writes a study's progress to its run."""

    run: RunLogger
    opened: OpenStudy
    space: SearchSpace

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
                text = yaml.safe_dump(nested(overrides(self.space, best)), sort_keys=False)
                found = f"# Trial {best['number']}: validation AUC {best['val_auc']:.4f}"
                text = f"{found} at the trials' fidelity\n{text}"
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


def nested(overrides: dict[str, object]) -> dict[str, object]:
    """Turns dotted keys into sections, as an experiment file has them."""
    nested: dict[str, object] = {}
    for key, value in overrides.items():
        *sections, last = key.split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {})  # type: ignore[assignment]
        node[last] = list(value) if isinstance(value, tuple) else value
    return nested
