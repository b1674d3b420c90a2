"""What makes a poster look Fresh: how measured features relate to the critics' verdict and with the model.

Each feature is asked alone, at equal year and genre: the outcome (the true label, 0 or 1, or the
model's probability of Fresh) is regressed by least squares on the feature and on the controls, a
restricted cubic spline of the year (Harrell 2015, section 2.4.5) and one column per frequent genre.
The effect is the change in the outcome per standard deviation of the feature, in percentage points.
Both outcomes have the same unit and the same design, so they can be compared: if the model is
calibrated and sees the feature, its effect equals the critics'. A label is not normal and its
variance not constant, so the intervals come from the sandwich variance in its HC3 form
(`stats.partial_effect`); p-values are corrected by Holm's method.

Association at equal year and genre, no more: what else differs between such posters (budget,
studio, country) is not held equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.interpolate import CubicSpline

from poster_ml.evaluation.metadata import genre_columns, years
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.plots import ForestRow, draw_forest
from poster_ml.evaluation.stats import Floats, Interval, holm, partial_effect
from poster_ml.figures import FRESH, INK
from poster_ml.files import write_text
from poster_ml.progress import progress

OUTCOMES = {"truth": "the critics' verdicts", "model": "the model's probabilities"}
VERDICTS = {
    "supported": "Supported by",
    "opposite": "The opposite is seen in",
    "not shown": "Not shown by",
}
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles of the year, Harrell's choice for five knots
FEWEST_OF_A_GENRE = 20
FEWEST_POSTERS = 50  # with a known value, below which a feature is not asked
EXTREMES = (0.01, 0.99)  # quantiles that a feature is cut at: one odd poster must not decide

# The study's two conclusions, the second in two parts: the features that stand for each, of which the first
# that was measured counts, and the direction.
CLAIMS = {
    "Fresh posters have big titles": (("title_largest_share", "text_largest_share"), 1),
    "Rotten posters show many characters": (("figures_count", "faces_count"), -1),
    "the characters of Rotten posters are of one size": (
        ("figures_size_regularity", "faces_size_regularity"),
        -1,
    ),
}


@dataclass(frozen=True)
class ClaimResult:
    """A claim tested on the critics' verdicts and on the model, and what was found, in words.

    verdicts: by outcome "supported", "opposite" or "not shown"; empty where nothing was measured for it.
    """

    claim: str
    feature: str
    verdicts: Mapping[str, str]
    sentence: str


@dataclass(frozen=True)
class Appearance:
    """The table of all features, what it says of the claims, and what could not be asked.

    table: one row per feature, the strongest by the truth first: `feature, posters, mean,
        standard_deviation`, and for each outcome (`truth`, `model`) `_effect` with its ends, `_p`,
        `_p_holm` and `_raw_effect` (without year and genre).
    confidence: of the intervals; an effect is there where its `_p_holm` is below 1 - confidence.
    """

    table: pd.DataFrame
    claims: list[ClaimResult]
    notes: list[str]
    confidence: float


NAMES = {
    "warmth": "warmth (red over blue)",
    "colorfulness": "colourfulness",
    "edge_density": "share of edges",
    "region_count": "number of regions",
    "title_largest_share": "share of the title",
}
for _what, _kind, _one in (
    ("text", "lines of text", "line of text"), ("faces", "faces", "face"), ("figures", "figures", "figure"),
):  # fmt: skip
    NAMES[f"{_what}_count"] = f"number of {_kind}"
    NAMES[f"{_what}_share"] = f"share covered by {_kind}"
    NAMES[f"{_what}_largest_share"] = f"share of the largest {_one}"
    NAMES[f"{_what}_size_regularity"] = f"regularity of the size of {_kind}"


def feature_name(feature: str) -> str:
    """Returns a feature's name for people, for example "number of faces"."""
    return NAMES.get(feature, feature.replace("_", " "))


def measure_appearance(
    features: pd.DataFrame,
    posters: pd.DataFrame,
    probabilities: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> Appearance:
    """Relates features of posters to the critics' verdict and to the model.

    Args:
        features: (N, F) numbers, one column per feature; NaN where it was not measured.
        posters: N rows in the same order: label; optional year (may be missing), genres (`|` between them).
        probabilities: (N,) of Fresh, as the model gave them.
        confidence: of the intervals, between 0 and 1; claims and features are evaluated at
            1 - confidence. The p-values of the claims are corrected among themselves, those of the
            table over all features of an outcome.

    Returns: the table, the claims and notes.
    Raises: EvaluationError as `metrics.check_predictions`.
    """
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    outcomes = {"truth": labels.astype(np.float64), "model": values}
    controls, notes = control_columns(posters)
    rows, left_out = [], []
    for name in progress(features.columns, "testing appearance", brief=True):
        column = features[name].to_numpy(np.float64)
        known = np.isfinite(column)
        asked = {outcome: values[known] for outcome, values in outcomes.items()}
        if row := _measure(column[known], asked, controls[known], confidence):
            rows.append({"feature": name} | row)
        else:
            left_out.append(feature_name(name))
    if left_out:
        notes.append(
            f"Not asked, for want of variation or of {FEWEST_POSTERS} posters: {', '.join(left_out)}."
        )
    table = pd.DataFrame(rows, columns=None if rows else ["feature"])
    if rows:
        for outcome in OUTCOMES:
            table[f"{outcome}_p_holm"] = holm(table[f"{outcome}_p"])
        width = table["truth_effect_ci_high"] - table["truth_effect_ci_low"]
        order = (table["truth_effect"] / width).abs()
        table = table.iloc[np.argsort(-order.to_numpy(), kind="stable")].reset_index(drop=True)
    return Appearance(table, _test_claims(table, 1.0 - confidence), notes, confidence)


def control_columns(posters: pd.DataFrame) -> tuple[Floats, list[str]]:
    """Builds what is held equal: (N, K) with a column of ones, the year's spline and frequent genres.

    A missing year gets the median and a column that says so. Returns the columns, and a note where
    there is nothing to hold equal.
    """
    columns: list[Floats] = [np.ones(len(posters))]
    notes = []
    year = years(posters)
    known = np.isfinite(year)
    if len(np.unique(year[known])) > 1:
        columns.extend(spline_columns(np.where(known, year, np.median(year[known]))).T)
        if not known.all():
            columns.append((~known).astype(np.float64))
    else:
        notes.append("Not held equal: the year, of which no two are known.")
    genres = genre_columns(posters)
    counts = genres.sum()
    frequent = genres.loc[:, (counts >= FEWEST_OF_A_GENRE) & (counts < len(posters))]
    if frequent.empty:
        notes.append(f"Not held equal: genres, of which none has {FEWEST_OF_A_GENRE} posters.")
    return np.column_stack([*columns, frequent.to_numpy(np.float64)]), notes


def spline_columns(values: Floats) -> Floats:
    """Returns columns (N, K) that span the restricted cubic splines of (N,) values, linear beyond the knots.

    With five distinct knots there are four columns beside a constant; with fewer than three, the
    values alone. All are scaled to about [-1, 1] so that least squares stays well conditioned.
    """
    spread = float(np.ptp(values)) or 1.0
    scaled = (values - np.median(values)) / spread
    knots = np.unique(np.quantile(scaled, KNOTS, method="nearest"))
    if len(knots) < 3:
        return np.asarray(scaled[:, None])
    # One natural spline per knot, 1 there and 0 at the others. They sum to 1, so the first is left out.
    spline = CubicSpline(knots, np.eye(len(knots))[:, 1:], bc_type="natural")
    inside = np.clip(scaled, knots[0], knots[-1])
    return np.asarray(spline(inside) + spline(inside, 1) * (scaled - inside)[:, None])


def _measure(
    column: Floats, outcomes: Mapping[str, Floats], controls: Floats, confidence: float
) -> dict[str, Any] | None:
    if len(column) < FEWEST_POSTERS:
        return None
    cut = np.clip(column, *np.quantile(column, EXTREMES))
    deviation = float(cut.std(ddof=1))
    if deviation == 0.0:
        return None
    row = {"posters": len(column), "mean": float(column.mean()), "standard_deviation": deviation}
    scaled = (cut - cut.mean()) / deviation
    for outcome, values in outcomes.items():
        found = partial_effect(scaled, 100.0 * values, controls, confidence)
        raw = partial_effect(scaled, 100.0 * values, controls[:, :1], confidence)
        if found is None or raw is None:
            return None
        row |= found[0].columns(f"{outcome}_effect")
        row |= {f"{outcome}_p": found[1], f"{outcome}_raw_effect": raw[0].estimate}
    return row


def _test_claims(table: pd.DataFrame, level: float) -> list[ClaimResult]:
    rows = {row["feature"]: row for row in table.to_dict("records")}
    chosen = [next((name for name in names if name in rows), "") for names, _ in CLAIMS.values()]
    corrected = {
        outcome: holm([rows[name][f"{outcome}_p"] if name else np.nan for name in chosen])
        for outcome in OUTCOMES
    }
    results = []
    for place, (claim, (features, sign)) in enumerate(CLAIMS.items()):
        name, start = chosen[place], f"Claim: {claim}. "
        if not name:
            missing = f"Not tested: none of {', '.join(features)} was measured."
            results.append(ClaimResult(claim, name, {}, start + missing))
            continue
        verdicts, found = dict.fromkeys(OUTCOMES, "not shown"), []
        for outcome, words in OUTCOMES.items():
            effect = Interval.of(rows[name], f"{outcome}_effect")
            if corrected[outcome][place] < level:
                verdicts[outcome] = "supported" if effect.estimate * sign > 0 else "opposite"
            found.append(f"{VERDICTS[verdicts[outcome]]} {words}: {effect.text(1, sign=True)} points")
        unit = f"; per standard deviation of {feature_name(name)}, at equal year and genre."
        results.append(ClaimResult(claim, name, verdicts, start + ". ".join(found) + unit))
    return results


def write_appearance(folder: Path, appearance: Appearance) -> None:
    """Writes the table, the claims' sentences and, where a feature was asked, `appearance.png`."""
    claims = [asdict(one) for one in appearance.claims]
    sentences = [one.pop("sentence") for one in claims]
    record = {"claims": claims, "sentences": sentences, "notes": appearance.notes}
    write_text(folder / "appearance.csv", appearance.table.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "appearance.json", json.dumps(record, indent=2) + "\n")
    if len(appearance.table):
        _draw(folder / "appearance.png", appearance)


def _draw(path: Path, appearance: Appearance) -> None:
    """Draws every feature's effect on the critics' verdicts and on the model, claimed features first."""
    claimed = [one.feature for one in appearance.claims]
    found = appearance.table.to_dict("records")
    found.sort(key=lambda row: [*claimed, row["feature"]].index(row["feature"]))
    colours = {"truth": INK, "model": FRESH}
    rows = [
        ForestRow(
            feature_name(row["feature"]),
            Interval.of(row, f"{outcome}_effect"),
            f"n = {row['posters']:,}" if outcome == "truth" else "",
            colour=colour,
            filled=row[f"{outcome}_p_holm"] < 1.0 - appearance.confidence,
        )
        for row in found
        for outcome, colour in colours.items()
    ]
    label = (
        "percentage points of Fresh per standard deviation, at equal year and genre\n"
        f"(line: {appearance.confidence:.0%} interval; filled: still there, corrected for all features)"
    )
    draw_forest(
        path,
        rows,
        label=label,
        title="What is associated with Fresh",
        reference=0.0,
        form="+.1f",
        legend={"critics' verdicts": INK, "the model": FRESH},
    )
