"""What labels are associated with before any network looks: balance, confounders and shortcuts.

Every number comes with an interval. The shortcut detector asks of each simple property (brightness, a
corner, the source file ...) how well it alone ranks Fresh above Rotten, corrected for how many were asked,
and again among posters of the same decade: what vanishes there was the decade speaking.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.data.properties import measure
from poster_ml.evaluation.stats import delong_interval, holm, structural_components, wilson_interval
from poster_ml.files import atomic_path

STRONG = 0.10  # an AUC this far from .5 is worth a classifier's attention
FEWEST = 20  # genres with fewer posters are counted but not drawn
UNKNOWN = "unknown"


class Dataset(Protocol):
    """What the audit needs of a prepared dataset."""

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """(N, S, S, 3) uint8 RGB."""

    @property
    def index(self) -> pd.DataFrame:
        """One row per image: movie_id, label, year, genres, split, width, height; file_bytes where known."""


@dataclass(frozen=True)
class AuditResult:
    """What was found and written.

    Attributes:
        balance: per split, year, decade and genre, as of `class_balance`.
        properties: one row per poster, as of `properties.measure`, with movie_id and label.
        associations: one row per property, as of `property_associations`.
        findings: sentences for a report, the most important first.
        files: everything written.
    """

    balance: dict[str, pd.DataFrame]
    properties: pd.DataFrame
    associations: pd.DataFrame
    findings: tuple[str, ...]
    files: tuple[Path, ...]


def write_audit(dataset: Dataset, out: Path, *, workers: int = 2, confidence: float = 0.95) -> AuditResult:
    """Audits a dataset and writes tables (CSV), figures (PNG) and `audit.json` into a folder.

    Args:
        dataset: a prepared dataset.
        out: a folder; made where it is missing.
        workers: threads that measure posters.
        confidence: of the intervals; a property is called associated at 1 - confidence.

    Returns: the tables and findings. At 224 pixels a thousand posters take about five seconds.
    """
    from poster_ml.evaluation.audit_figures import draw_associations, draw_decades, draw_genres
    from poster_ml.figures import save_figure

    out.mkdir(parents=True, exist_ok=True)
    index = dataset.index.reset_index(drop=True)
    balance = {by: class_balance(index, by, confidence) for by in ("split", "year", "decade", "genre")}
    measured = measure(dataset.images, range(len(index)), workers=workers).reset_index(drop=True)
    properties = pd.concat([index[["movie_id", "label"]], measured, _source(index)], axis=1)
    asked = properties.drop(columns=["movie_id", "label"]).assign(year=_years(index))
    associations = property_associations(
        asked, index["label"].to_numpy(), _decades(index).to_numpy(), confidence
    )
    tables = {f"balance_{by}": table for by, table in balance.items()}
    tables |= {"properties": properties, "property_associations": associations}
    files = [_write_table(table, out / f"{name}.csv") for name, table in tables.items()]
    overall = float(index["label"].mean())
    figures = {
        "balance_decade": draw_decades(balance["decade"], overall, confidence),
        "balance_genre": draw_genres(balance["genre"], overall, confidence, fewest=FEWEST),
        "property_associations": draw_associations(associations, confidence),
    }
    files += [save_figure(figure, out / f"{name}.png") for name, figure in figures.items()]
    findings = summarise(balance, associations, overall)
    with atomic_path(out / "audit.json") as temporary:
        record = {"posters": len(index), "fresh_share": overall, "findings": findings}
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    files.append(out / "audit.json")
    return AuditResult(balance, properties, associations, findings, tuple(files))


def class_balance(index: pd.DataFrame, by: str, confidence: float = 0.95) -> pd.DataFrame:
    """Counts Fresh and Rotten per value.

    Args:
        index: with label (0/1) and what `by` needs: split, year or genres.
        by: "split", "year", "decade" or "genre"; a poster of several genres counts in each.
        confidence: of the intervals, between 0 and 1.

    Returns: value, posters, fresh, rotten, fresh_share, and its Wilson interval as ci_low and ci_high;
        posters without the value come last, as "unknown".
    """
    values = _values(index, by)
    table = values.groupby("value", sort=True)["label"].agg(posters="size", fresh="sum").reset_index()
    table = table.sort_values("value", key=_order, kind="stable", ignore_index=True)
    shares = [
        wilson_interval(fresh, posters, confidence)
        for fresh, posters in zip(table["fresh"], table["posters"], strict=True)
    ]
    return table.assign(
        rotten=table["posters"] - table["fresh"],
        fresh_share=[share.estimate for share in shares],
        ci_low=[share.low for share in shares],
        ci_high=[share.high for share in shares],
    )[["value", "posters", "fresh", "rotten", "fresh_share", "ci_low", "ci_high"]]


def property_associations(
    properties: pd.DataFrame,
    labels: npt.NDArray[np.integer[Any]],
    strata: npt.NDArray[Any],
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Asks each property how well it alone tells the label.

    Args:
        properties: one row per poster, one numeric column per property; missing values are left out.
        labels: (N,) of 0 (Rotten) and 1 (Fresh).
        strata: (N,) groups, for example decades.
        confidence: of the intervals; all properties are one family, evaluated at 1 - confidence.

    Returns: one row per property, strongest first: property; posters; auc, ci_low, ci_high (DeLong, on the
        logit scale; above .5 means that Fresh posters have larger values); correlation (point-biserial);
        p_value (Mann-Whitney) and p_adjusted (Holm over all properties); auc_within_strata, over pairs of the
        same stratum only; verdict: "strong", "weak", "none", or "not asked" for a property that does not vary
        or a class that is missing.
    """
    rows = [_associate(name, properties[name], labels, strata, confidence) for name in properties.columns]
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(table["p_value"])
    table["verdict"] = [
        _verdict(area, chance, 1.0 - confidence)
        for area, chance in zip(table["auc"], table["p_adjusted"], strict=True)
    ]
    table = table.assign(strength=(table["auc"] - 0.5).abs()).sort_values("strength", ascending=False)
    columns = ["property", "posters", "auc", "ci_low", "ci_high", "correlation", "p_value", "p_adjusted"]
    return table[[*columns, "auc_within_strata", "verdict"]].reset_index(drop=True)


def summarise(
    balance: dict[str, pd.DataFrame], associations: pd.DataFrame, overall: float
) -> tuple[str, ...]:
    """Says in sentences what a person should know before training."""
    posters = int(balance["split"]["posters"].sum())
    majority, accuracy = ("Fresh" if overall >= 0.5 else "Rotten"), max(overall, 1 - overall)
    lines = [f"{posters} posters, {overall:.1%} Fresh: always saying {majority} is right {accuracy:.1%}"]
    shares = balance["split"]["fresh_share"]
    if len(shares) > 1:
        lines.append(f"Fresh shares of the splits lie between {shares.min():.1%} and {shares.max():.1%}")
    for by in ("decade", "genre"):
        table = balance[by][(balance[by]["value"] != UNKNOWN) & (balance[by]["posters"] >= FEWEST)]
        if len(table) > 1:
            low, *_, high = table.sort_values("fresh_share").to_dict("records")
            lines.append(
                f"by {by}, Fresh runs from {low['fresh_share']:.0%} ({low['value']}) "
                f"to {high['fresh_share']:.0%} ({high['value']})"
            )
    for verdict in ("strong", "weak"):
        chosen = associations[associations["verdict"] == verdict]
        named = ", ".join(f"{row.property} (AUC {row.auc:.3f})" for row in chosen.itertuples())
        lines.append(f"{verdict} association with the label: {named or 'no property'}")
    same = associations[associations["verdict"] == "not asked"]["property"]
    if len(same):
        lines.append(f"the same in all posters: {', '.join(same)}")
    return tuple(lines)


def _order(values: pd.Series) -> pd.Series:
    """Splits in the order of their use; else as they are, and unknown ones last."""
    return values.map({"val": 1, "test": 2, UNKNOWN: 3}).fillna(0)


def _values(index: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row per poster and value, as (value, label)."""
    if by == "genre":
        lists = index["genres"].fillna("").astype(str).str.split("|")
        table = pd.DataFrame({"value": lists, "label": index["label"]}).explode("value")
        table["value"] = table["value"].str.strip().replace("", UNKNOWN)
        return table.reset_index().drop_duplicates(["index", "value"])[["value", "label"]]
    if by == "decade":
        return pd.DataFrame({"value": _decades(index), "label": index["label"]})
    if by == "year":
        years = _years(index)
        named = years.map("{:.0f}".format).where(years.notna(), UNKNOWN)
        return pd.DataFrame({"value": named, "label": index["label"]})
    if by == "split":
        return pd.DataFrame({"value": index["split"].astype(str), "label": index["label"]})
    raise ValueError(f"expected split, year, decade or genre, got {by=}")


def _years(index: pd.DataFrame) -> pd.Series:
    """Years as floats; missing, zero and unreadable ones as NaN."""
    years = pd.to_numeric(index["year"], errors="coerce").astype(float)
    return years.where(years > 0)


def _decades(index: pd.DataFrame) -> pd.Series:
    years = _years(index)
    return (years // 10 * 10).map("{:.0f}s".format).where(years.notna(), UNKNOWN)


def _source(index: pd.DataFrame) -> pd.DataFrame:
    """What the source files were: another scanner, site or compression shows here."""
    width, height = index["width"], index["height"]
    table = pd.DataFrame(
        {"source_width": width, "source_height": height, "source_aspect": width / height}
    ).astype(float)
    if "file_bytes" in index:
        table["source_bytes_per_pixel"] = index["file_bytes"] / (width * height)
    return table


def _associate(
    name: str,
    column: pd.Series,
    labels: npt.NDArray[np.integer[Any]],
    strata: npt.NDArray[Any],
    confidence: float,
) -> dict[str, Any]:
    from scipy.stats import mannwhitneyu

    values = column.to_numpy(float)
    known = np.isfinite(values)
    values, labels, strata = values[known], labels[known], strata[known]
    row: dict[str, Any] = {"property": name, "posters": len(values)}
    fresh, rotten = values[labels == 1], values[labels == 0]
    missing = ("auc", "ci_low", "ci_high", "correlation", "p_value", "auc_within_strata")
    if min(len(fresh), len(rotten)) < 2 or np.ptp(values) == 0:
        return row | dict.fromkeys(missing, float("nan"))
    auc = delong_interval(labels, values, confidence)
    row |= {"auc": auc.estimate, "ci_low": auc.low, "ci_high": auc.high}
    row["correlation"] = float(np.corrcoef(values, labels)[0, 1])
    row["p_value"] = float(mannwhitneyu(fresh, rotten, method="asymptotic").pvalue)
    row["auc_within_strata"] = _auc_within(values, labels, strata)
    return row


def _auc_within(
    values: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], strata: npt.NDArray[Any]
) -> float:
    """The share of well-ordered pairs among the Fresh-Rotten pairs of one stratum."""
    won, pairs = 0.0, 0
    for stratum in np.unique(strata):
        inside = strata == stratum
        fresh = int(labels[inside].sum())
        count = fresh * (int(inside.sum()) - fresh)
        if count:
            won += count * structural_components(labels[inside], values[inside])[0]
            pairs += count
    return won / pairs if pairs else float("nan")


def _verdict(area: float, chance: float, level: float) -> str:
    if not np.isfinite(area):
        return "not asked"
    if chance >= level:
        return "none"
    return "strong" if abs(area - 0.5) >= STRONG else "weak"


def _write_table(table: pd.DataFrame, path: Path) -> Path:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    return path
