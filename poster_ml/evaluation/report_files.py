"""Everything that is written about one split: `evaluation/<split>/`, and the numbers that are logged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.baselines import (
    BaselineResult,
    PosterGain,
    colour_baseline,
    cross_fitted,
    majority_accuracy,
    metadata_baselines,
    poster_gain,
)
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.combined import CombinedModel
from poster_ml.evaluation.metrics import check_predictions, metrics_with_intervals
from poster_ml.evaluation.plots import draw_evaluation
from poster_ml.evaluation.slices import compute_slices, worst_slices
from poster_ml.evaluation.stats import Floats, Interval
from poster_ml.files import atomic_path

if TYPE_CHECKING:
    import pandas

SCORED = ("roc_auc", "accuracy", "log_loss", "brier", "ece")  # of `scores.csv`


@dataclass(frozen=True)
class References:
    """What the posters are compared with; every part may be missing.

    train: year, genres, label, movie_id of the train rows, for the metadata baselines.
    combined: the model of poster, year and genres that is served, where it was not fitted on the evaluated
        posters; without it the combination is cross-fitted within them, and the gain called optimistic.
    images, train_indices, rows: (N, H, W, 3) uint8 memory map and which of it are `train` and the evaluated
        posters, for the colour baseline.
    """

    train: pandas.DataFrame | None = None
    combined: CombinedModel | None = None
    images: npt.NDArray[np.uint8] | None = None
    train_indices: npt.ArrayLike | None = None
    rows: npt.ArrayLike | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found.

    metrics: flat names without the split, as logged: every metric with `_ci_low` and `_ci_high`,
        `majority_accuracy`, `baseline_*_roc_auc`, `combined_*` and `poster_beyond_metadata_auc_gain` where
        they exist.
    scores: one row for "poster" and, where they exist, "metadata" and "combined", all on the same `posters`
        whose year or genres are known: each of SCORED with its interval.
    notes: one sentence for everything that could not be computed.
    """

    folder: Path
    posters: int
    fresh_share: float
    threshold: float
    confidence: float
    intervals: dict[str, Interval]
    majority_accuracy: float
    baselines: dict[str, BaselineResult]
    gain: PosterGain | None
    scores: pandas.DataFrame
    slices: pandas.DataFrame
    worst: pandas.DataFrame
    metrics: dict[str, float]
    notes: list[str]


def write_evaluation(
    folder: Path,
    posters: pandas.DataFrame,
    probabilities: npt.ArrayLike,
    *,
    threshold: float,
    repeats: int,
    confidence: float,
    seed: int,
    references: References | None = None,
    logits: npt.ArrayLike | None = None,
) -> EvaluationResult:
    """Evaluates one split and writes its folder.

    Args:
        folder: `evaluation/<split>`; created; files of the same names are replaced.
        posters: one row per poster: movie_id, label; optional title, year, genres, width, height, brightness.
        probabilities: (N,) of Fresh in [0, 1], in the order of `posters`.
        threshold: predicted Fresh from here on, chosen on validation.
        repeats: bootstrap resamples.
        confidence: of every interval, between 0 and 1.
        seed: int >= 0.
        references: what to compare with; None leaves the baselines out.
        logits: (N,) as the model gave them; without them they are computed from `probabilities`.

    Returns: the result; a baseline that cannot be computed is missing and has a note.

    Raises: EvaluationError where the posters have one class only or a probability is not one.
    """
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    references = references or References()
    folder.mkdir(parents=True, exist_ok=True)
    intervals = metrics_with_intervals(
        labels, values, threshold=threshold, repeats=repeats, confidence=confidence, seed=seed
    )
    baselines, notes = _baselines(posters, labels, references, seed, confidence)
    known, design = None, f"combination cross-fitted in the {len(labels)} posters"
    if references.combined is not None and baselines:
        known = references.combined.probabilities(posters, values)
        design = f"combination fitted on {references.combined.posters} posters of another split"
    elif references.train is not None and "year_genre" in baselines:
        known = cross_fitted(references.train, posters, values, seed=seed)
    gain = None
    if "year_genre" in baselines:
        optimistic = references.combined is None
        gain = known and poster_gain(
            labels, values, *known, confidence=confidence, design=design, optimistic=optimistic
        )
        if gain is None:
            notes.append("No gain over year + genres: too few posters of one class to combine the two.")
    train_labels = None if references.train is None else references.train["label"].to_numpy()
    majority = majority_accuracy(labels, train_labels)
    named = intervals | {f"baseline_{name}_roc_auc": item.roc_auc for name, item in baselines.items()}
    if gain is not None:
        named["poster_beyond_metadata_auc_gain"] = gain.gain
        named["year_genre_poster_roc_auc"] = gain.combined_auc
    measured = partial(metrics_with_intervals, repeats=repeats, confidence=confidence, seed=seed)
    scores = _scores(labels, values, known, threshold, measured)
    metrics = {"majority_accuracy": majority}
    if "combined" in scores.index:
        for name in SCORED:
            metrics |= Interval.of(scores.loc["combined"].to_dict(), name).columns(f"combined_{name}")
    for name, interval in named.items():
        metrics |= interval.columns(name)
    slices = compute_slices(posters, values, threshold=threshold, confidence=confidence)
    result = EvaluationResult(
        folder=folder,
        posters=len(labels),
        fresh_share=float(labels.mean()),
        threshold=threshold,
        confidence=confidence,
        intervals=intervals,
        majority_accuracy=majority,
        baselines=baselines,
        gain=gain,
        scores=scores,
        slices=slices,
        worst=worst_slices(slices, intervals["roc_auc"].estimate),
        metrics=metrics,
        notes=notes,
    )
    _write_tables(posters, values, logits, known, result)
    draw_evaluation(result, labels, values, seed)
    return result


def _baselines(
    posters: pandas.DataFrame, labels: Any, references: References, seed: int, confidence: float
) -> tuple[dict[str, BaselineResult], list[str]]:
    """Returns the baselines that can be fitted, by name, and a note on each that can't."""
    train = references.train
    if train is None or not len(train):
        return {}, ["No baselines: there are no train rows to fit them on."]
    if set(train["movie_id"]) & set(posters["movie_id"]):
        return {}, ["No baselines: these posters are among the ones that the baselines would be fitted on."]
    found = metadata_baselines(train, posters, seed=seed, confidence=confidence)
    notes = [
        f"No baseline of {name}: {lacking} for the train or the evaluated posters, or too few posters."
        for key, name, lacking in (
            ("year", "year", "no two different years are known"),
            ("genre", "genres", "no genres are known"),
            ("year_genre", "year + genres", "years or genres are missing"),
        )
        if key not in found
    ]
    images, train_indices, rows = references.images, references.train_indices, references.rows
    if images is not None and train_indices is not None and rows is not None:
        train_labels = train["label"].to_numpy()
        colour = colour_baseline(images, train_indices, train_labels, rows, labels, confidence=confidence)
        found |= {} if colour is None else {"colour": colour}
    return found, notes


def _scores(
    labels: npt.NDArray[np.int64],
    values: Floats,
    known: tuple[Floats, Floats] | None,
    threshold: float,
    measured: Callable[..., dict[str, Interval]],
) -> pandas.DataFrame:
    """Scores the poster, year + genres, and all of them, on the posters that all three can score.

    Year + genres and the combination call a poster Fresh from .5 on: no threshold was chosen for them.
    """
    import pandas

    rows = np.ones(len(labels), dtype=bool) if known is None else np.isfinite(known[1])
    compared = {"poster": (values, threshold)}
    if known is not None and np.bincount(labels[rows], minlength=2).min() > 0:
        compared |= {"metadata": (known[0], 0.5), "combined": (known[1], 0.5)}
    else:
        rows[:] = True
    table: dict[str, dict[str, float]] = {}
    for name, (probabilities, bar) in compared.items():
        found = measured(labels[rows], probabilities[rows], threshold=bar)
        table[name] = {"posters": int(rows.sum())}
        for score in SCORED:
            table[name] |= found[score].columns(score)
    return pandas.DataFrame.from_dict(table, orient="index").rename_axis("model")


def _write_tables(
    posters: pandas.DataFrame,
    values: Floats,
    logits: npt.ArrayLike | None,
    known: tuple[Floats, Floats] | None,
    result: EvaluationResult,
) -> None:
    """Writes `predictions.csv` in the order of the posters, the report, `slices.csv` and `scores.csv`."""
    from sklearn.metrics import classification_report

    folder, labels = result.folder, posters["label"].to_numpy(np.int64)
    predicted = (values >= result.threshold).astype(np.int64)
    table = posters.reindex(columns=["movie_id", "title", "year", "genres"]).assign(
        label=labels,
        logit=logit(values) if logits is None else np.asarray(logits, dtype=np.float64),
        probability=values,
        predicted=predicted,
        correct=(predicted == labels).astype(np.int64),
    )
    if known is not None:
        table = table.assign(probability_metadata=known[0], probability_combined=known[1])
    with atomic_path(folder / "predictions.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g")
    arguments = {"target_names": ["Rotten", "Fresh"], "labels": [0, 1], "zero_division": 0.0}
    text = classification_report(labels, predicted, digits=4, **arguments)
    report = classification_report(labels, predicted, output_dict=True, **arguments)
    with atomic_path(folder / "classification_report.txt") as temporary:
        temporary.write_text(str(text), encoding="utf-8")
    with atomic_path(folder / "classification_report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    with atomic_path(folder / "slices.csv") as temporary:
        result.slices.to_csv(temporary, index=False, float_format="%.6f")
    with atomic_path(folder / "scores.csv") as temporary:
        result.scores.to_csv(temporary, float_format="%.6f")
