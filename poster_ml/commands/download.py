"""`poster-ml download`: the posters of a table, by URL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from poster_ml.cluster import check_scheduler, open_if_asked
from poster_ml.data.dialects import parse_column_options
from poster_ml.data.download import DownloadReport, download_posters
from poster_ml.data.fetch import FetchOptions
from poster_ml.data.tables import read_table


def run_download(
    table: Path,
    out: Path,
    *,
    workers: int = FetchOptions.workers,
    columns: Sequence[str] = (),
    dialect: str | None = None,
    score_threshold: float | None = None,
    retry_failed: bool = False,
    scheduler: str = "",
    dashboard: bool = False,
) -> DownloadReport:
    """Downloads the poster of every movie that preprocessing could use; continues where it was stopped.

    Args:
        table: the movies, see `tables.read_table`; it needs a column with the posters' URLs.
        out: folder to fill with `<movie_id>.<ending>` and `download.csv`.
        workers: requests at the same time, at least 1.
        columns: "role=name" each, for example "image_url=poster"; see `dialects.ROLES`.
        dialect, score_threshold: as for `tables.read_table`.
        retry_failed: ask again for what failed for good.
        scheduler: of a Dask cluster that asks for the posters, each host from one worker at a time,
            with `workers` connections; empty: POSTER_ML_SCHEDULER, else none.
        dashboard: print where Dask's dashboard shows it.

    Raises: TableError, DownloadError, ClusterError: the user's mistake, in one line.
    """
    check_scheduler(scheduler)
    told = parse_column_options(columns)
    movies = read_table(
        table, columns=told, dialect=dialect, score_threshold=score_threshold, require=("image_url",)
    ).movies
    open_client = partial(open_if_asked, 1, scheduler, dashboard, [out])
    return download_posters(
        movies, out, FetchOptions(workers), retry_failed=retry_failed, open_client=open_client
    )
