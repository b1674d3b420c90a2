"""Where a model is good and where it is bad: metrics by decade, genre, shape and brightness of the poster.

With some thirty slices one or two look bad by chance alone. So each that is large enough is compared with all
other posters, and the p-values of all slices are one family, corrected by Holm's method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.baselines import split_genres
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    auc_gap,
    delong_interval,
    holm,
    wilson_interval,
)
from poster_ml.files import atomic_path

if TYPE_CHECKING:
    import pandas

MINIMUM_POSTERS = 20  # slices below this are listed, but not compared with the other posters
MINIMUM_PER_CLASS = 10  # nor are those with fewer Fresh or Rotten ones: their ROC AUC hangs on single posters
# Width over height of a one-sheet is 27 / 40 = .675; scans of it vary by about 5 %.
ASPECT_EDGES = (0.64, 0.71)
ASPECT_NAMES = ("narrow (below .64)", "one-sheet (.64 to .71)", "wide (above .71)")
BRIGHTNESS_NAMES = ("darkest quarter", "dark quarter", "bright quarter", "brightest quarter")


@dataclass(frozen=True)
class Slice:
    """One group of posters.

    roc_auc: None where the group has one class only.
    p_holm: of no difference in ROC AUC to all other posters, corrected over all slices; NaN: not asked.
    worse: whether its ROC AUC is significantly below that of all other posters.
    """

    kind: str
    name: str
    count: int
    fresh_share: float
    accuracy: Interval
    majority_accuracy: float
    roc_auc: Interval | None
    p_holm: float = float("nan")
    worse: bool = False


def compute_slices(
    posters: pandas.DataFrame, probabilities: npt.ArrayLike, *, threshold: float, confidence: float
) -> list[Slice]:
    """Scores every group of posters that the columns allow.

    Args:
        posters: label; optional year (decades), genres (a poster counts in each of its genres), width and
            height of the source in pixels (aspect), brightness in any unit (quartiles).
        probabilities: (N,) of Fresh.
        threshold: predicted Fresh from here on.
        confidence: between 0 and 1; accuracy has Wilson's interval, ROC AUC DeLong's.

    Returns: slices by kind and name; posters without a value are in the slice "unknown" of that kind.

    Raises: EvaluationError as `metrics.check_predictions`.
    """
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    slices: list[Slice] = []
    gaps: list[tuple[float, float]] = []
    for kind, groups in _groups(posters).items():
        for name in sorted(groups, key=_rank):
            rows = groups[name]
            truth, scores = labels[rows], values[rows]
            right = int(((scores >= threshold) == truth).sum())
            share = float(truth.mean())
            slices.append(
                Slice(
                    kind=kind,
                    name=name,
                    count=len(truth),
                    fresh_share=share,
                    accuracy=wilson_interval(right, len(truth), confidence),
                    majority_accuracy=max(share, 1.0 - share),
                    roc_auc=delong_interval(truth, scores, confidence) if 0.0 < share < 1.0 else None,
                )
            )
            gaps.append(_gap_to_others(labels, values, rows, name, confidence))
    corrected = holm([p_value for _, p_value in gaps]).tolist()
    return [
        replace(item, p_holm=p_holm, worse=gap < 0 and p_holm < 1.0 - confidence)
        for item, (gap, _), p_holm in zip(slices, gaps, corrected, strict=True)
    ]


def _gap_to_others(
    labels: Integers, values: Floats, rows: npt.NDArray[np.int64], name: str, confidence: float
) -> tuple[float, float]:
    """Returns ROC AUC of a slice less that of all other posters, and its p-value; NaN where too few are."""
    inside = np.zeros(len(labels), np.bool_)
    inside[rows] = True
    fewest = min(np.bincount(labels[side], minlength=2).min() for side in (inside, ~inside))
    if name == "unknown" or len(rows) < MINIMUM_POSTERS or fewest < MINIMUM_PER_CLASS:
        return float("nan"), float("nan")
    interval, p_value = auc_gap(labels, values, inside, confidence)
    return interval.estimate, p_value


def _rank(name: str) -> tuple[int, str]:
    """Keeps what has an order, from narrow to wide and from dark to bright, in that order."""
    ordered = (*ASPECT_NAMES, *BRIGHTNESS_NAMES)
    return (ordered.index(name) if name in ordered else -1, name)


def _groups(posters: pandas.DataFrame) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
    """Returns rows by kind and name of slice."""
    import pandas

    names: dict[str, list[list[str]]] = {}
    if "year" in posters and posters["year"].notna().any():
        years = pandas.to_numeric(posters["year"], errors="coerce")
        names["decade"] = [
            ["unknown"] if np.isnan(year) else [f"{int(year) // 10 * 10}s"]
            for year in years.to_numpy(np.float64, na_value=np.nan)
        ]
    if "genres" in posters:
        listed = split_genres(posters["genres"])
        if any(listed):
            names["genre"] = [sorted(set(found)) or ["unknown"] for found in listed]
    if {"width", "height"} <= set(posters.columns):
        aspect = posters["width"].to_numpy(np.float64) / posters["height"].to_numpy(np.float64)
        names["aspect"] = _binned(aspect, ASPECT_EDGES, ASPECT_NAMES)
    if "brightness" in posters:
        brightness = posters["brightness"].to_numpy(np.float64)
        known = brightness[np.isfinite(brightness)]
        if len(np.unique(known)) >= len(BRIGHTNESS_NAMES):
            quartiles = tuple(np.quantile(known, [0.25, 0.5, 0.75]).tolist())
            names["brightness"] = _binned(brightness, quartiles, BRIGHTNESS_NAMES)
    groups: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
    for kind, members in names.items():
        rows: dict[str, list[int]] = {}
        for row, found in enumerate(members):
            for name in found:
                rows.setdefault(name, []).append(row)
        groups[kind] = {name: np.asarray(found, dtype=np.int64) for name, found in rows.items()}
    return groups


def _binned(
    values: npt.NDArray[np.float64], edges: tuple[float, ...], names: tuple[str, ...]
) -> list[list[str]]:
    positions = np.searchsorted(np.asarray(edges), values, side="right")
    return [
        [names[position]] if np.isfinite(value) else ["unknown"]
        for position, value in zip(positions, values, strict=True)
    ]


def worst_slices(slices: list[Slice], overall_auc: float, count: int = 3) -> list[Slice]:
    """Names the slices whose ROC AUC is significantly below that of all other posters; none where none is.

    Args:
        slices: of `compute_slices`.
        overall_auc: of all posters.
        count: how many at most.

    Returns: worst first, by how many half-widths of its own interval a slice lies below `overall_auc`: a
        slice is not the worst for being small, nor for being large and a hair below.
    """
    gaps: list[tuple[float, Slice]] = []
    for item in slices:
        if item.worse and item.roc_auc is not None:
            half = max((item.roc_auc.high - item.roc_auc.low) / 2.0, 1e-9)
            gaps.append(((overall_auc - item.roc_auc.estimate) / half, item))
    return [item for _, item in sorted(gaps, key=lambda pair: -pair[0])[:count]]


def slices_table(slices: list[Slice]) -> pandas.DataFrame:
    """Returns one row per slice: slice, value, posters, fresh_share, accuracy and roc_auc with their ends."""
    import pandas

    rows = []
    for item in slices:
        auc = item.roc_auc or Interval(float("nan"), float("nan"), float("nan"))
        rows.append(
            {
                "slice": item.kind,
                "value": item.name,
                "posters": item.count,
                "fresh_share": item.fresh_share,
                "accuracy": item.accuracy.estimate,
                "accuracy_ci_low": item.accuracy.low,
                "accuracy_ci_high": item.accuracy.high,
                "majority_accuracy": item.majority_accuracy,
                "roc_auc": auc.estimate,
                "roc_auc_ci_low": auc.low,
                "roc_auc_ci_high": auc.high,
                "p_holm": item.p_holm,
                "worse": item.worse,
            }
        )
    columns = ["slice", "value", "posters", "fresh_share", "accuracy", "accuracy_ci_low", "accuracy_ci_high"]
    columns += ["majority_accuracy", "roc_auc", "roc_auc_ci_low", "roc_auc_ci_high", "p_holm", "worse"]
    return pandas.DataFrame(rows, columns=columns)


def write_slices(path: Path, slices: list[Slice]) -> Path:
    """Writes `slices_table` as CSV with 6 decimals; an empty field is an AUC that one class has not."""
    with atomic_path(path) as temporary:
        slices_table(slices).to_csv(temporary, index=False, float_format="%.6f")
    return path
