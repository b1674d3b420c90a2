"""`poster-ml export`: the record of runs as one small file that can be kept beside the results."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from poster_ml.errors import mask_passwords
from poster_ml.files import begins_with, check_output_file, write_text
from poster_ml.tracking.runs import RunRecord, find_run

# Params and tags that name files of the machine: only the last part of the path is kept.
PATHS = ("data", "model.weights", "weights", "storage")
SYSTEM = "system/"
BEGINNING = '{\n "format": 1,\n "runs":'  # of what is written


@dataclass(frozen=True)
class ExportResult:
    """How many runs were written, and where."""

    runs: int
    file: Path


def run_export(runs: Sequence[str], out: Path) -> ExportResult:
    """Writes id, name, status, tags, params and last metrics of runs as JSON.

    What says nothing about the result stays out: MLflow's own tags (user, source file), texts of errors,
    measurements of the machine (`system/...`), passwords, and the folders before a file's name. Nothing about
    single posters is written.

    Args:
        runs: ids, in the order wanted.
        out: the JSON file; its folder is made.

    Raises: TrackingError for a run that does not exist; OutputError where `out` holds something else.
    """
    check_output_file(out, begins_with(BEGINNING), "exported runs")
    records = [export_record(find_run(run)) for run in dict.fromkeys(runs)]
    write_text(out, json.dumps({"format": 1, "runs": records}, indent=1, allow_nan=False) + "\n")
    return ExportResult(len(records), out)


def export_record(record: RunRecord) -> dict[str, Any]:
    """Returns what is written of one run; numbers that are not finite become null."""
    return {
        "run_id": record.run_id,
        "name": record.name,
        "status": record.status,
        "tags": {
            key: _last_part(key, value)
            for key, value in sorted(record.tags.items())
            if (not key.startswith("mlflow.") or key == "mlflow.parentRunId") and key != "error"
        },
        "params": {key: _last_part(key, value) for key, value in sorted(record.params.items())},
        "metrics": {
            key: float(f"{value:.6g}") if math.isfinite(value) else None
            for key, value in sorted(record.metrics.items())
            if not key.startswith(SYSTEM)
        },
    }


def _last_part(key: str, value: str) -> str:
    value = mask_passwords(value)
    if key not in PATHS:
        return value
    return ",".join(PurePath(part).name or part for part in value.split(","))
