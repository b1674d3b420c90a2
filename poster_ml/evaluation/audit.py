"""What labels are associated with before any network looks: balance, confounders and shortcuts.

Every number comes with an interval. The shortcut detector asks of each simple property (brightness,
a corner, the source file ...) how well it alone ranks Fresh above Rotten, corrected for how many
were asked, and again among posters of the same decade: what vanishes there was the decade speaking.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import mannwhitneyu

from poster_ml.data.properties import measure
from poster_ml.data.reading import PreparedDataset
from poster_ml.evaluation.metadata import UNKNOWN, members, years
from poster_ml.evaluation.plots import ForestRow, draw_forest
from poster_ml.evaluation.stats import (
    NOT_MEASURED,
    Interval,
    delong_interval,
    holm,
    structural_components,
    wilson_interval,
)
from poster_ml.figures import FRESH, INK, NEUTRAL, ROTTEN
from poster_ml.files import write_text

STRONG = 0.10  # an AUC this far from .5 is worth a classifier's attention
CONFIDENCE = 0.95
FEWEST = 20  # genres with fewer posters are counted but not drawn


def write_audit(dataset: PreparedDataset, out: Path) -> tuple[tuple[str, ...], list[Path]]:
    """Audits a dataset and writes tables (CSV), figures (PNG) and `audit.json` into a folder.

    Intervals are of 95 %; a property is called associated at .05, all properties being one family.

    Args:
        dataset: its images and index are read.
        out: a folder; made where it is missing.

    Returns: what was found, in sentences for a report, and the files. At 224 pixels a thousand
        posters take about five seconds.
    """
    index = dataset.index.reset_index(drop=True)
    balance = {by: class_balance(index, by, CONFIDENCE) for by in ("split", "year", "decade", "genre")}
    measured = measure(dataset.images, range(len(index)), workers=2).reset_index(drop=True)
    properties = pd.concat([index[["movie_id", "label"]], measured, _source(index)], axis=1)
    asked = properties.drop(columns=["movie_id", "label"]).assign(year=years(index))
    decades = members(index, "decade")["value"].to_numpy()
    associations = property_associations(asked, index["label"].to_numpy(), decades, CONFIDENCE)
    tables = {f"balance_{by}": table for by, table in balance.items()}
    tables |= {"properties": properties, "property_associations": associations}
    files = []
    for name, table in tables.items():
        files.append(out / f"{name}.csv")
        write_text(files[-1], table.to_csv(index=False, float_format="%.6g"))
    overall = float(index["label"].mean())
    genres = balance["genre"]
    enough = genres[genres["posters"] >= FEWEST]
    genres = (enough if len(enough) else genres).sort_values("fresh_share", ascending=False)
    files.append(_draw_balance(out / "balance_decade.png", "decade", balance["decade"], overall))
    files.append(_draw_balance(out / "balance_genre.png", "genre", genres, overall))
    if (associations["verdict"] != "not asked").any():
        files.append(_draw_associations(out / "property_associations.png", associations))
    findings = summarise(balance, associations, overall)
    record = {"posters": len(index), "fresh_share": overall, "findings": findings}
    write_text(out / "audit.json", json.dumps(record, indent=2) + "\n")
    return findings, [*files, out / "audit.json"]


def class_balance(index: pd.DataFrame, by: str, confidence: float = 0.95) -> pd.DataFrame:
    """Counts Fresh and Rotten per group.

    Args:
        index: with label (0/1) and what `by` needs.
        by: as of `metadata.members`; a poster of several genres counts in each.
        confidence: of the intervals, between 0 and 1.

    Returns: value, posters, fresh, rotten, fresh_share, and its Wilson interval as ci_low and
        ci_high; posters without the value come last, as "unknown".
    """
    found = members(index, by)
    found["label"] = index["label"].to_numpy()[found["row"]]
    rows = []
    for value, labels in found.groupby("value", observed=True)["label"]:
        share = wilson_interval(int(labels.sum()), len(labels), confidence)
        row = {"value": value, "posters": len(labels), "fresh": labels.sum(), "rotten": (1 - labels).sum()}
        rows.append(row | {"fresh_share": share.estimate, "ci_low": share.low, "ci_high": share.high})
    return pd.DataFrame(rows)


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

    Returns: one row per property, strongest first: property; posters; auc, ci_low, ci_high (DeLong,
        on the logit scale; above .5 means that Fresh posters have larger values); p_value
        (Mann-Whitney) and p_adjusted (Holm over all properties); auc_within_strata, over pairs of
        the same stratum only; verdict: "strong", "weak", "none", or "not asked" for a property that
        does not vary or a class that is missing.
    """
    rows = []
    for name in properties.columns:
        values = properties[name].to_numpy(float)
        known = np.isfinite(values)
        values, truth, groups = values[known], labels[known], strata[known]
        fresh, rotten = values[truth == 1], values[truth == 0]
        asked = min(len(fresh), len(rotten)) >= 2 and np.ptp(values) > 0
        auc = delong_interval(truth, values, confidence) if asked else NOT_MEASURED
        p_value = mannwhitneyu(fresh, rotten, method="asymptotic").pvalue if asked else np.nan
        rows.append(
            {
                "property": name,
                "posters": len(values),
                "auc": auc.estimate,
                "ci_low": auc.low,
                "ci_high": auc.high,
                "p_value": p_value,
                "auc_within_strata": _auc_within(values, truth, groups) if asked else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    table.insert(6, "p_adjusted", holm(table["p_value"]))
    strength = (table["auc"] - 0.5).abs()
    table["verdict"] = np.select(
        [strength.isna(), table["p_adjusted"] >= 1.0 - confidence, strength >= STRONG],
        ["not asked", "none", "strong"],
        "weak",
    )
    return table.loc[strength.sort_values(ascending=False).index].reset_index(drop=True)


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


def _source(index: pd.DataFrame) -> pd.DataFrame:
    """What the source files were: another scanner, site or compression shows here."""
    width, height = index["width"], index["height"]
    table = pd.DataFrame(
        {"source_width": width, "source_height": height, "source_aspect": width / height}
    ).astype(float)
    if "file_bytes" in index:
        table["source_bytes_per_pixel"] = index["file_bytes"] / (width * height)
    return table


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


def _draw_balance(path: Path, by: str, table: pd.DataFrame, overall: float) -> Path:
    """Draws the Fresh share of each group; coloured where the interval excludes that of all posters."""
    rows = [
        ForestRow(
            str(row["value"]),
            Interval(row["fresh_share"], row["ci_low"], row["ci_high"]),
            f"n = {row['posters']:,}",
            colour=FRESH if row["ci_low"] > overall else ROTTEN if row["ci_high"] < overall else NEUTRAL,
        )
        for row in table.to_dict("records")
    ]
    label = f"share Fresh ({CONFIDENCE:.0%} interval); line: all, {overall:.0%}; grey: interval holds it"
    return draw_forest(path, rows, label=label, title=f"Class balance by {by}", reference=overall, form=".0%")


def _draw_associations(path: Path, table: pd.DataFrame) -> Path:
    """Draws each property's AUC with its interval, and below it the AUC among posters of one decade."""
    rows = []
    for row in table[table["verdict"] != "not asked"].to_dict("records"):
        name, within = row["property"].replace("_", " "), Interval(*[row["auc_within_strata"]] * 3)
        colour = {"strong": FRESH, "weak": INK, "none": NEUTRAL}[row["verdict"]]
        auc = Interval(row["auc"], row["ci_low"], row["ci_high"])
        rows.append(ForestRow(name, auc, row["verdict"], colour=colour))
        rows.append(ForestRow(name, within, "same decade", colour=NEUTRAL, filled=False))
    return draw_forest(
        path,
        rows,
        label=f"ROC AUC of the property alone ({CONFIDENCE:.0%} interval); right: larger in Fresh posters",
        title=f"What could give the label away (strong: {STRONG:.2f} or more from 0.5)",
        reference=0.5,
    )
