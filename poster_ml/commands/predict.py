"""`poster-ml predict`: probabilities for files and folders, of any number, in constant memory.

The model is the one that is served (`PosterModel`), so the numbers are the server's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poster_ml.cluster import check_scheduler, is_asked, open_if_asked
from poster_ml.errors import DatasetError
from poster_ml.files import printable
from poster_ml.pipeline.poster_files import (
    check_posters,
    facts_digest,
    folders_of,
    read_tables,
    score_files,
    score_task,
    walk_posters,
)
from poster_ml.pipeline.prediction_files import (
    FORMATS,
    check_out,
    claim,
    printed_rows,
    read_scored,
    written_rows,
)
from poster_ml.progress import progress

logger = logging.getLogger(__name__)

BATCH_SIZE = 64


@dataclass(frozen=True)
class PredictResult:
    """What was done: files scored now, of them failed, and files left alone since they had a row already."""

    scored: int
    failed: int
    resumed: int
    out: Path | None

    def text(self) -> str:
        """Returns what was done in one line."""
        before = f", {self.resumed:,} had a row before" if self.resumed else ""
        where = f": {self.out}" if self.out else ""
        return f"{self.scored:,} posters, {self.failed:,} of them could not be scored{before}{where}"


def run_predict(
    model_uri: str,
    posters: Sequence[Path],
    *,
    format: str = "table",
    out: Path | None = None,
    resume: bool = True,
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
    scheduler: str = "",
    dashboard: bool = False,
) -> PredictResult:
    """Scores posters.

    Args:
        model_uri: as for `load_poster_model`; a folder needs no store.
        posters: files, folders and tables (`read_tables`). Folders are walked with everything below
            them. Files named themselves are scored whatever they are called, in folders only what
            has the ending of an image.
        format: "table", "csv" or "json" (an array, one object per line) on stdout.
        out: a .csv file instead, written while the posters are scored; a path that is scored
            already is not scored again. Posters are known by the path as given (`files.printable`).
            Beside it stands `<out>.json`, which says which model made the rows.
        resume: False starts `out` afresh; True adds to what the same model wrote.
        batch_size: files per forward pass, at least 1.
        workers: processes on this machine; 1 scores in this one, where the next batch is read
            meanwhile.
        scheduler: of a Dask cluster; empty: POSTER_ML_SCHEDULER, else none.
        dashboard: print where Dask's dashboard shows the work.

    Raises: DatasetError for what is missing, has no image, cannot be written or holds the rows of
        another model; OutputError where `out` holds something else; RegistryError for the model;
        ClusterError.
    """
    if format not in FORMATS:
        raise DatasetError(f"--format must be one of {', '.join(FORMATS)}, received {format!r}")
    check_posters(posters)
    posters, facts = read_tables(posters)
    if out:
        check_out(out)
    check_scheduler(scheduler, workers)
    here = not is_asked(workers, scheduler, dashboard)
    known, size = read_scored(out) if out and resume else (set[str](), 0)
    task, identity, paths = score_task(model_uri, here)
    with open_if_asked(workers, scheduler, dashboard, [*folders_of(posters), *paths]) as client:
        if out:
            claim(out, identity | ({"movies": facts_digest(facts)} if facts else {}), has_rows=bool(known))
        left = (path for path in walk_posters(posters) if printable(path) not in known)
        # Listed twice, so that the time left is known without keeping the names.
        total = sum(printable(path) not in known for path in walk_posters(posters))
        scored, failed, reason = 0, 0, ""
        files = progress(left, "scoring posters", total)
        with written_rows(out, size) if out else printed_rows(format) as write:
            for rows in score_files(client, task, files, batch_size, facts):
                write(rows)
                errors = rows["error"].dropna()
                scored, failed = scored + len(rows), failed + len(errors)
                reason = errors.iloc[-1] if len(errors) else reason
    result = PredictResult(scored, failed, len(known), out)
    logger.info("%s", result.text())
    if scored and failed == scored:
        raise DatasetError(
            f"none of {scored:,} posters could be scored, the last one since {reason}: give whole image files"
        )
    return result
