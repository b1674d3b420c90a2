"""Everything that is written about one split: `evaluation/<split>/`, and the numbers that are logged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import classification_report

from poster_ml.evaluation.baselines import Combination, poster_gain
from poster_ml.evaluation.calibration import logit
from poster_ml.evaluation.metrics import check_predictions, metrics_with_intervals
from poster_ml.evaluation.plots import draw_evaluation
from poster_ml.evaluation.slices import compute_slices, worst_slices
from poster_ml.evaluation.stats import Floats, Interval, columns_of, delong_interval
from poster_ml.files import write_text

SCORED = ("roc_auc", "accuracy", "log_loss", "brier", "ece")  # of `scores.csv`


@dataclass(frozen=True)
class References:
    """What a model is compared with on the posters evaluated.

    majority_accuracy: of always naming one class. baselines: name -> (N,) probabilities of Fresh,
    as of `baselines.fit_baselines`. combination: with year and genres; None where neither is known.
    notes: a sentence for each that is missing.
    """

    majority_accuracy: float
    baselines: dict[str, Floats]
    combination: Combination | None
    notes: list[str]


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found.

    intervals: each of `METRIC_NAMES`, `baseline_<name>_roc_auc` and what `baselines.poster_gain`
        measures, where year and genres are known.
    scores: one row for "poster" and, where they exist, "metadata" and "combined", all on the same
        `posters` whose year or genres are known: each of SCORED with its interval.
    slices, worst: as of `slices.compute_slices` and `worst_slices`.
    """

    folder: Path
    posters: int
    fresh_share: float
    threshold: float
    confidence: float
    references: References
    intervals: dict[str, Interval]
    scores: pd.DataFrame
    slices: pd.DataFrame
    worst: pd.DataFrame
    notes: list[str]

    @property
    def gain(self) -> Interval | None:
        """ROC AUC that the poster adds to year and genres, where they are known."""
        return self.intervals.get("poster_beyond_metadata_auc_gain")

    @property
    def optimistic(self) -> bool:
        """Whether the posters also chose the model's epoch, so that the gain is too high."""
        combination = self.references.combination
        return combination is not None and combination.optimistic

    @property
    def metrics(self) -> dict[str, float]:
        """What is logged, without the split: all intervals but that of the verdict, and `combined_*`."""
        metrics = {"majority_accuracy": self.references.majority_accuracy}
        if "combined" in self.scores.index:
            row = self.scores.loc["combined"].to_dict()
            metrics |= {f"combined_{name}": row[name] for name in row if name != "posters"}
        logged = {name: one for name, one in self.intervals.items() if name != "poster_over_metadata"}
        return metrics | columns_of(logged)


def write_evaluation(
    folder: Path,
    posters: pd.DataFrame,
    probabilities: npt.ArrayLike,
    references: References,
    *,
    threshold: float,
    repeats: int,
    confidence: float,
    seed: int,
    logits: npt.ArrayLike | None = None,
) -> EvaluationResult:
    """Evaluates one split and writes its folder.

    Args:
        folder: `evaluation/<split>`; created; files of the same names are replaced.
        posters: one row per poster: movie_id, label; optional title, year, genres, width, height, brightness.
        probabilities: (N,) of Fresh in [0, 1], in the order of `posters`.
        references: what to compare with, of the same posters.
        threshold: predicted Fresh from here on, chosen on validation.
        repeats: bootstrap resamples.
        confidence: of every interval, between 0 and 1.
        seed: int >= 0.
        logits: (N,) as the model gave them; without them they are computed from `probabilities`.

    Raises: EvaluationError where the posters have one class only or a probability is not one.
    """
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    measured = partial(metrics_with_intervals, repeats=repeats, confidence=confidence, seed=seed)
    intervals = measured(labels, values, threshold=threshold)
    for name, baseline in references.baselines.items():
        intervals[f"baseline_{name}_roc_auc"] = delong_interval(labels, baseline, confidence)
    notes, combination = list(references.notes), references.combination
    if "year_genre" in references.baselines:
        gain = poster_gain(labels, values, combination, confidence) if combination else {}
        intervals |= gain
        if not gain:
            notes.append("No gain over year + genres: too few posters of one class to combine the two.")
    slices = compute_slices(posters, values, threshold=threshold, confidence=confidence)
    result = EvaluationResult(
        folder=folder,
        posters=len(labels),
        fresh_share=float(labels.mean()),
        threshold=threshold,
        confidence=confidence,
        references=references,
        intervals=intervals,
        scores=_scores(labels, values, threshold, combination, measured),
        slices=slices,
        worst=worst_slices(slices, intervals["roc_auc"].estimate),
        notes=notes,
    )
    _write_tables(posters, values, logit(values) if logits is None else logits, result)
    draw_evaluation(result, labels, values)
    return result


def _scores(
    labels: npt.NDArray[np.int64],
    values: Floats,
    threshold: float,
    combination: Combination | None,
    measured: Callable[..., dict[str, Interval]],
) -> pd.DataFrame:
    """Scores the poster, year + genres, and all of them, on the posters that all three can score.

    Year + genres and the combination call a poster Fresh from .5 on: no threshold was chosen for them.
    """
    rows, compared = np.ones(len(labels), dtype=bool), {"poster": (values, threshold)}
    if combination is not None and np.bincount(labels[combination.known], minlength=2).min() > 0:
        rows = combination.known
        compared |= {"metadata": (combination.metadata, 0.5), "combined": (combination.combined, 0.5)}
    table: dict[str, dict[str, float]] = {}
    for name, (probabilities, bar) in compared.items():
        found = measured(labels[rows], probabilities[rows], threshold=bar)
        table[name] = {"posters": int(rows.sum())} | columns_of({one: found[one] for one in SCORED})
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("model")


def _write_tables(
    posters: pd.DataFrame, values: Floats, logits: npt.ArrayLike, result: EvaluationResult
) -> None:
    """Writes `predictions.csv` in the order of the posters, the report, `slices.csv` and `scores.csv`."""
    folder, labels = result.folder, posters["label"].to_numpy(np.int64)
    predicted = (values >= result.threshold).astype(np.int64)
    table = posters.reindex(columns=["movie_id", "title", "year", "genres"]).assign(
        label=labels,
        logit=np.asarray(logits, dtype=np.float64),
        probability=values,
        predicted=predicted,
        correct=(predicted == labels).astype(np.int64),
    )
    if (known := result.references.combination) is not None:
        table = table.assign(probability_metadata=known.metadata, probability_combined=known.combined)
    arguments = {"target_names": ["Rotten", "Fresh"], "labels": [0, 1], "zero_division": 0.0}
    report = classification_report(labels, predicted, output_dict=True, **arguments)
    texts = {
        "predictions.csv": table.to_csv(index=False, float_format="%.9g"),
        "classification_report.txt": classification_report(labels, predicted, digits=4, **arguments),
        "classification_report.json": json.dumps(report, indent=2) + "\n",
        "slices.csv": result.slices.to_csv(index=False, float_format="%.6f"),
        "scores.csv": result.scores.to_csv(float_format="%.6f"),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
