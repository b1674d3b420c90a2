"""`poster-ml preprocess`: a table and a folder of posters become a prepared dataset."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.cluster import check_scheduler, open_if_asked
from poster_ml.data.dialects import parse_column_options
from poster_ml.data.image_files import match_images
from poster_ml.data.prepared import check_target, prepare
from poster_ml.data.splits import SPLITS
from poster_ml.data.tables import read_table
from poster_ml.files import printable


@dataclass(frozen=True)
class PreprocessResult:
    """What a preprocessing did.

    `dialect` and `label_rule` say how the table was read, `counts` how many posters each split has.
    `rejected` rows are not in the dataset, `reasons` counts why; `notes` tell what could not be
    read in the others. `run_id` is empty where no MLflow run was asked for.
    """

    folder: Path
    dialect: str
    label_rule: str
    counts: dict[str, int]
    rejected: int
    reasons: dict[str, int]
    notes: tuple[str, ...]
    fingerprint: str
    run_id: str
    seconds: float

    def text(self) -> str:
        """Returns the result for people to read."""
        splits = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        lines = [
            f"{sum(self.counts.values())} posters in {self.folder}: {splits} ({self.seconds:.1f} s)",
            f"table dialect {self.dialect}, labels from {self.label_rule}",
            f"fingerprint {self.fingerprint}",
            *self.notes,
        ]
        if self.rejected:
            lines.append(f"{self.rejected} rows rejected, see {self.folder / 'rejected.csv'}:")
            lines += [f"  {number:>6}  {kind}" for kind, number in self.reasons.items()]
        return "\n".join(lines)


def run_preprocess(
    table: Path,
    posters: Path,
    out: Path,
    *,
    columns: Sequence[str] = (),
    dialect: str | None = None,
    score_threshold: float | None = None,
    recursive: bool = False,
    track: bool = True,
    scheduler: str = "",
    dashboard: bool = False,
    **options: Any,
) -> PreprocessResult:
    """Reads the table, finds every movie's poster, and writes the prepared dataset.

    A prepared dataset that is at `out` already is replaced once the new one is whole; any other folder with
    something in it is left alone.

    Args:
        table: the movies, see `tables.read_table`.
        posters: folder with the image files; `recursive` looks below it too.
        out: the dataset's folder.
        columns: "role=name" each, see `dialects.ROLES`.
        dialect, score_threshold: as for `tables.read_table`.
        track: log a run that training runs can be traced to.
        scheduler: of a Dask cluster that decodes; empty: POSTER_ML_SCHEDULER, and without that threads of
            this process, which are faster than processes on one machine: no pixel travels.
        dashboard: print where Dask's dashboard shows it.
        **options: size, fit, split, seed, limit and workers (threads) of `prepared.prepare`.

    Raises: TableError, DatasetError, OutputError, ClusterError: the user's mistake, in one line;
        TrackingError where the store takes no run, before the work where that can be known.
    """
    started = time.monotonic()
    check_scheduler(scheduler, options.get("workers") or 1)
    check_target(out, table=table, posters=posters)
    movies = read_table(
        table, columns=parse_column_options(columns), dialect=dialect, score_threshold=score_threshold
    )
    # What can be refused is refused before MLflow is imported, which takes seconds.
    from poster_ml.pipeline.dataset_run import log_dataset_run
    from poster_ml.tracking.store import connect

    if track:  # before the work, not after it
        connect(write=True)
    matched, missing = match_images(movies.movies, posters, recursive=recursive)
    rejected = pd.concat([movies.rejected, missing])
    source = {"table": printable(table.name), "posters": printable(posters.name), **movies.source()}
    with open_if_asked(1, scheduler, dashboard, [posters]) as client:
        if client:
            options["workers"] = client
        dataset = prepare(matched, rejected, out, source=source, **options)
    reasons: dict[str, int] = dataset.manifest["rejected_by_reason"]
    return PreprocessResult(
        folder=out,
        dialect=movies.layout.dialect,
        label_rule=movies.layout.label_rule,
        counts={name: len(dataset.indices(name)) for name in SPLITS},
        rejected=sum(reasons.values()),
        reasons=reasons,
        notes=movies.notes,
        fingerprint=dataset.fingerprint,
        run_id=log_dataset_run(dataset) if track else "",
        seconds=time.monotonic() - started,
    )
