"""`poster-ml synth`: posters with a known cause and a known best accuracy."""

from __future__ import annotations

from pathlib import Path

from poster_ml.errors import DatasetError
from poster_ml.synthetic.writing import Confounders, SyntheticSummary, write_posters


def run_synth(
    out: Path,
    *,
    count: int = 1200,
    seed: int = 42,
    bayes_accuracy: float = 0.9,
    confounders: Confounders | None = None,
) -> SyntheticSummary:
    """Writes synthetic posters; arguments and errors as for `synthetic.writing.write_posters`.

    Raises: DatasetError, also where the folder cannot be written.
    """
    try:
        return write_posters(
            out, count=count, seed=seed, bayes_accuracy=bayes_accuracy, confounders=confounders
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot write {out}: {reason}; name a folder that you may write") from error
