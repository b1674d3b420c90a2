"""A study in MLflow: the parent run with its figures, and children whose states are made true."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from poster_ml.config import SearchSpace
from poster_ml.tracking.runs import RunLogger, RunRecord, search_runs
from poster_ml.tuning.figures import draw_all, importances
from poster_ml.tuning.records import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    TrialRecord,
    best_so_far,
    by_end,
    epochs_run,
    read_records,
    to_csv,
    top,
)
from poster_ml.tuning.study import OpenStudy

STATUS = {FINISHED: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED", INTERRUPTED: "FAILED"}


def find_parent(study: str, storage: str) -> str | None:
    """Finds the run of a study; None where there is none."""
    found = search_runs(f"tags.kind = 'study' and tags.study = '{study}'")
    same = [run for run in found if run.tags.get("storage") == storage]
    return same[-1].run_id if same else None


def children(parent_run_id: str) -> list[RunRecord]:
    """Lists the runs under a parent, the newest first."""
    return search_runs(f"tags.`mlflow.parentRunId` = '{parent_run_id}'", limit=5000)


@dataclass
class ParentLog:
    """Writes a study's progress to its parent run."""

    run: RunLogger
    opened: OpenStudy
    space: SearchSpace

    def after_trial(self) -> None:
        """Logs the value of each counted trial and the best so far; steps are their order of ending."""
        records = read_records(self.opened, self.space)
        best = dict(best_so_far(records))
        counted = by_end([record for record in records if record.counted])
        rows = []
        for position, record in enumerate(counted, start=1):
            row = {"val_auc": record.value if record.value is not None else float("nan")}
            if position in best:
                row["best_val_auc"] = best[position]
            rows.append(row)
        self.run.fill_epochs(rows)

    def settle_children(self, records: Sequence[TrialRecord]) -> None:
        """Gives the child runs of killed processes their true state: what the study says, it is."""
        states = {str(record.number): record.state for record in records}
        for child in children(self.run.run_id):
            state = states.get(child.tags.get("trial.number", ""))
            if state is None or child.status == STATUS[state]:
                continue
            logger = RunLogger(child.run_id)
            logger.set_tags({"trial.state": state})
            if state == INTERRUPTED:
                logger.set_tags({"error": "interrupted: repeat the command to continue it"})
            logger.end(STATUS[state])

    def finish(self) -> list[TrialRecord]:
        """Logs table, figures, importance and best settings; returns the records. No trial runs any more."""
        self.after_trial()
        records = read_records(self.opened, self.space)
        self.settle_children(records)
        counts = {f"trials_{state}": sum(record.state == state for record in records) for state in STATUS}
        self.run.log_metrics(counts | {"epochs_run": epochs_run(records)})
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            draw_all(self.opened, folder)
            if shares := importances(self.opened):
                (folder / "importance.json").write_text(json.dumps(shares, indent=1), encoding="utf-8")
            (folder / "trials.csv").write_text(to_csv(records), encoding="utf-8")
            for best in top(records, 1):
                text = yaml.safe_dump(nested(best.overrides), sort_keys=False)
                note = f"# Trial {best.number}: validation AUC {best.value:.4f} at the trials' fidelity\n"
                (folder / "best_parameters.yaml").write_text(note + text, encoding="utf-8")
                self.run.log_metrics({"best_trial": best.number})
            self.run.log_folder(folder, "study")
        return records


def describe_best(records: Sequence[TrialRecord]) -> str:
    """Says in one line what the best trial is, and in another why the first one failed where any did."""
    errors = [" ".join(record.error.split()) for record in records if record.error]
    failed = f"\n{len(errors)} failed, the first: {errors[0][:300]}" if errors else ""
    best = top(records, 1)
    if not best:
        return f"no trial finished{failed}"
    short = {
        name: f"{value:.3g}" if isinstance(value, float) else value for name, value in best[0].drawn.items()
    }
    drawn = ", ".join(f"{name} {value}" for name, value in short.items())
    return f"best: trial {best[0].number}, validation AUC {best[0].value:.4f} ({drawn}){failed}"


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
