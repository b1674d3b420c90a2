"""Which model wrote a file of predictions: one JSON file beside it, read before more rows are added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from poster_ml.errors import DatasetError, mask_passwords
from poster_ml.files import atomic_path, check_output_file
from poster_ml.serving.identity import ModelIdentity


def record_path(out: Path) -> Path:
    """Returns where the record of `out` lies: scores.csv has scores.csv.json."""
    return out.with_name(out.name + ".json")


def check_record(out: Path) -> None:
    """Refuses a file that has the name of the record of `out` and holds something else.

    Raises: OutputError naming the file.
    """
    path = record_path(out)
    check_output_file(path, lambda head: _read(path) is not None, "record of predictions", "beside --out,")


def write_record(out: Path, identity: ModelIdentity) -> None:
    """Writes which model makes the rows of `out`: its id, URI, version, run and settings.

    Raises: OutputError where a file of this name holds something else; DatasetError where it cannot be
        written.
    """
    path = record_path(out)
    check_record(out)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(
                mask_passwords(json.dumps(identity.as_dict(), indent=2)) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error


def check_same_model(out: Path, identity: ModelIdentity) -> None:
    """Refuses to add rows to those of another model.

    Raises: DatasetError naming both models, or saying that it is not known which one wrote `out`.
    """
    path = record_path(out)
    record = _read(path) if path.exists() else None
    remedy = "give another --out, or start it afresh with --no-resume"
    if record is None:
        raise DatasetError(
            f"--out {out} has rows, and no {path.name} beside it says which model wrote them: {remedy}"
        )
    if record["model_id"] != identity.model_id:
        version = record.get("version")
        before = f"{version} ({record['model_id']})" if version else record["model_id"]
        raise DatasetError(f"--out {out} holds rows of {before}, not of {identity.text()}: {remedy}")


def _read(path: Path) -> dict[str, Any] | None:
    """Returns the record, or None where the file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("model_id"), str) else None
