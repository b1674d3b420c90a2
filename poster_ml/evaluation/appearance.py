"""What makes a poster look Fresh: how measured features relate to the critics' verdict and with the model.

Each feature is asked alone, at equal year and genre: the outcome (the true label, 0 or 1, or the model's
probability of Fresh) is regressed by least squares on the feature and on the controls, a restricted cubic
spline of the year (Harrell 2015, section 2.4.5) and one column per frequent genre. The effect is the change
in the outcome per standard deviation of the feature, in percentage points. Both outcomes have the same unit
and the same design, so they can be compared: if the model is calibrated and sees the feature, its effect
equals the critics'. A label is not normal and its variance not constant, so the intervals come from the
sandwich variance in its HC3 form (`stats.partial_effect`); p-values are corrected by Holm's method.

Association at equal year and genre, no more: what else differs between such posters (budget, studio,
country) is not held equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.baselines import split_genres
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.stats import Floats, Interval, check_confidence, holm, partial_effect
from poster_ml.progress import progress

if TYPE_CHECKING:
    import pandas

OUTCOMES = ("truth", "model")
KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles of the year, Harrell's choice for five knots
FEWEST_OF_A_GENRE = 20
FEWEST_POSTERS = 50  # with a known value, below which a feature is not asked
EXTREMES = (0.01, 0.99)  # quantiles that a feature is cut at: one odd poster must not decide


@dataclass(frozen=True)
class Claim:
    """Something said about posters, as a feature (the first that was measured counts) and a direction."""

    text: str
    features: tuple[str, ...]
    sign: int


# The study's two conclusions; the second one has two parts.
CLAIMS = (
    Claim("Fresh posters have big titles", ("title_largest_share", "text_largest_share"), 1),
    Claim("Rotten posters show many characters", ("figures_count", "faces_count"), -1),
    Claim(
        "the characters of Rotten posters are of one size",
        ("figures_size_regularity", "faces_size_regularity"),
        -1,
    ),
)


@dataclass(frozen=True)
class ClaimResult:
    """A claim tested on the critics' verdicts and on the model.

    verdicts: by outcome "supported", "opposite" or "not shown"; empty where nothing was measured for it.
    effects: by outcome, in percentage points per standard deviation of `feature`.
    """

    claim: Claim
    feature: str
    verdicts: Mapping[str, str]
    effects: Mapping[str, Interval]

    def sentence(self) -> str:
        """Says in words what was found."""
        start = f"Claim: {self.claim.text}."
        if not self.verdicts:
            return f"{start} Not tested: none of {', '.join(self.claim.features)} was measured."
        parts = []
        for outcome, who in (("truth", "the critics' verdicts"), ("model", "the model's probabilities")):
            words = {
                "supported": f"Supported by {who}",
                "opposite": f"The opposite is seen in {who}",
                "not shown": f"Not shown by {who}",
            }[self.verdicts[outcome]]
            parts.append(f"{words}: {self.effects[outcome].text(1, sign=True)} points")
        return (
            f"{start} {'. '.join(parts)}; per standard deviation of {feature_name(self.feature)}, "
            "at equal year and genre."
        )


@dataclass(frozen=True)
class Appearance:
    """The table of all features, what it says of the claims, and what could not be asked.

    table: one row per feature, the strongest by the truth first: `feature, posters, mean,
        standard_deviation`, and for each outcome (`truth`, `model`) `_effect` with `_ci_low`, `_ci_high`,
        `_p`, `_p_holm` and `_raw_effect` (without year and genre).
    confidence: of the intervals; an effect is there where its `_p_holm` is below 1 - confidence.
    """

    table: pandas.DataFrame
    claims: list[ClaimResult]
    notes: list[str]
    confidence: float


NAMES = {
    "title_largest_share": "share of the title",
    "brightness": "brightness",
    "contrast": "contrast",
    "saturation": "saturation",
    "warmth": "warmth (red over blue)",
    "colorfulness": "colourfulness",
    "sharpness": "sharpness",
    "edge_density": "share of edges",
    "entropy": "entropy of grey levels",
    "region_count": "number of regions",
    "largest_region_share": "largest region's share",
    "small_region_share": "share of small regions",
    "region_evenness": "evenness of regions",
    "foreground_share": "share of foreground",
}
_ENDINGS = {
    "count": "number of {}",
    "share": "share covered by {}",
    "largest_share": "share of the largest {}",
    "size_regularity": "regularity of the size of {}",
}
_KINDS = {"text": "lines of text", "faces": "faces", "figures": "figures"}
_LARGEST = {"text": "line of text", "faces": "face", "figures": "figure"}


def feature_name(feature: str) -> str:
    """Returns a feature's name for people, for example "number of faces"."""
    if feature in NAMES:
        return NAMES[feature]
    kind, _, ending = feature.partition("_")
    if kind in _KINDS and ending in _ENDINGS:
        return _ENDINGS[ending].format((_LARGEST if ending == "largest_share" else _KINDS)[kind])
    return feature.replace("_", " ")


def measure_appearance(
    features: pandas.DataFrame,
    posters: pandas.DataFrame,
    probabilities: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    claims: Sequence[Claim] = CLAIMS,
) -> Appearance:
    """Relates features of posters to the critics' verdict and to the model.

    Args:
        features: (N, F) numbers, one column per feature; NaN where it was not measured.
        posters: N rows in the same order: label; optional year (may be missing), genres (`|` between them).
        probabilities: (N,) of Fresh, as the model gave them.
        confidence: of the intervals, between 0 and 1; claims and features are evaluated at 1 - confidence.
        claims: which of them are tested; their p-values are corrected among themselves, those of the table
            over all features of an outcome.

    Returns: the table, the claims and notes.
    Raises: EvaluationError as `metrics.check_predictions`; ValueError where the lengths differ.
    """
    import pandas

    check_confidence(confidence)
    if not len(features) == len(posters) == len(np.asarray(probabilities)):
        raise ValueError(f"one row per poster is needed, got {len(features)=}, {len(posters)=}")
    labels, values = check_predictions(posters["label"].to_numpy(), probabilities)
    outcomes = {"truth": labels.astype(np.float64), "model": values}
    controls, notes = control_columns(posters)
    rows, left_out = [], []
    for name in progress(features.columns, "testing appearance", brief=True):
        column = features[name].to_numpy(np.float64)
        known = np.isfinite(column)
        row = _measure(name, column[known], {key: one[known] for key, one in outcomes.items()},
                       controls[known], confidence)  # fmt: skip
        if row is None:
            left_out.append(feature_name(name))
        else:
            rows.append(row)
    if left_out:
        notes.append(
            f"Not asked, for want of variation or of {FEWEST_POSTERS} posters: {', '.join(left_out)}."
        )
    if not rows:
        nothing = pandas.DataFrame({"feature": []})
        return Appearance(nothing, [_untested(claim) for claim in claims], notes, confidence)
    table = pandas.DataFrame(rows)
    for outcome in OUTCOMES:
        table[f"{outcome}_p_holm"] = holm(table[f"{outcome}_p"])
    order = (table["truth_effect"] / (table["truth_ci_high"] - table["truth_ci_low"])).abs()
    table = table.iloc[np.argsort(-order.to_numpy(), kind="stable")].reset_index(drop=True)
    return Appearance(table, _test_claims(claims, table, 1.0 - confidence), notes, confidence)


def control_columns(posters: pandas.DataFrame) -> tuple[Floats, list[str]]:
    """Builds what is held equal: (N, K) with a column of ones, the year's spline and frequent genres.

    A missing year gets the median and a column that says so. Returns the columns, and a note where there is
    nothing to hold equal.
    """
    import pandas

    columns: list[Floats] = [np.ones(len(posters))]
    notes = []
    years = (
        pandas.to_numeric(posters["year"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if "year" in posters
        else np.full(len(posters), np.nan)
    )
    known = np.isfinite(years)
    if len(np.unique(years[known])) > 1:
        columns.extend(spline_columns(np.where(known, years, np.median(years[known]))).T)
        if not known.all():
            columns.append((~known).astype(np.float64))
    else:
        notes.append("Not held equal: the year, of which no two are known.")
    listed = [set(names) for names in split_genres(posters["genres"])] if "genres" in posters else []
    counts = {name: sum(name in one for one in listed) for name in sorted(set().union(*listed))}
    genres = [name for name, count in counts.items() if FEWEST_OF_A_GENRE <= count < len(posters)]
    columns.extend(np.array([name in one for one in listed], dtype=np.float64) for name in genres)
    if not genres:
        notes.append(f"Not held equal: genres, of which none has {FEWEST_OF_A_GENRE} posters.")
    return np.column_stack(columns), notes


def spline_columns(values: Floats) -> Floats:
    """Returns columns (N, K) that span the restricted cubic splines of (N,) values, linear beyond the knots.

    With five distinct knots there are four columns beside a constant; with fewer than three, the values
    alone. All are scaled to about [-1, 1] so that least squares stays well conditioned.
    """
    from scipy.interpolate import CubicSpline

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
    name: str, column: Floats, outcomes: Mapping[str, Floats], controls: Floats, confidence: float
) -> dict[str, Any] | None:
    if len(column) < FEWEST_POSTERS:
        return None
    cut = np.clip(column, *np.quantile(column, EXTREMES))
    deviation = float(cut.std(ddof=1))
    if deviation == 0.0:
        return None
    row: dict[str, Any] = {
        "feature": name,
        "posters": len(column),
        "mean": float(column.mean()),
        "standard_deviation": deviation,
    }
    scaled = (cut - cut.mean()) / deviation
    for outcome, values in outcomes.items():
        found = partial_effect(scaled, 100.0 * values, controls, confidence)
        raw = partial_effect(scaled, 100.0 * values, controls[:, :1], confidence)
        if found is None or raw is None:
            return None
        effect, p_value = found
        row |= {
            f"{outcome}_effect": effect.estimate,
            f"{outcome}_ci_low": effect.low,
            f"{outcome}_ci_high": effect.high,
            f"{outcome}_p": p_value,
            f"{outcome}_raw_effect": raw[0].estimate,
        }
    return row


def _untested(claim: Claim) -> ClaimResult:
    return ClaimResult(claim, "", {}, {})


def _test_claims(claims: Sequence[Claim], table: pandas.DataFrame, level: float) -> list[ClaimResult]:
    rows = {row["feature"]: row for row in table.to_dict("records")}
    chosen = [next((name for name in claim.features if name in rows), "") for claim in claims]
    asked = [rows[name] for name in chosen if name]
    corrected = {outcome: iter(holm([row[f"{outcome}_p"] for row in asked])) for outcome in OUTCOMES}
    results = []
    for claim, name in zip(claims, chosen, strict=True):
        if not name:
            results.append(_untested(claim))
            continue
        row, verdicts, effects = rows[name], {}, {}
        for outcome in OUTCOMES:
            effect = effect_of(row, outcome)
            real = next(corrected[outcome]) < level
            verdicts[outcome] = (
                "not shown" if not real else "supported" if effect.estimate * claim.sign > 0 else "opposite"
            )
            effects[outcome] = effect
        results.append(ClaimResult(claim, name, verdicts, effects))
    return results


def effect_of(row: Mapping[Any, Any], outcome: str) -> Interval:
    """Returns the effect of one row of the table with its interval."""
    return Interval(*(float(row[f"{outcome}_{end}"]) for end in ("effect", "ci_low", "ci_high")))
