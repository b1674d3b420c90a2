"""The audit's figures: plots of numbers with their intervals, no poster in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from poster_ml.figures import FRESH, INK, NEUTRAL, ROTTEN, new_figure

_VERDICTS = {"strong": FRESH, "weak": INK, "none": "#A9A9A9"}
_MOST_GENRES = 28


def draw_decades(table: pd.DataFrame, overall: float, confidence: float) -> Any:
    """Draws the Fresh share per decade with intervals over the number of posters.

    Args:
        table: as of `audit.class_balance(index, "decade")`.
        overall: the Fresh share of the dataset.
        confidence: that of the table's intervals.

    Returns: a matplotlib Figure.
    """
    figure, axes = new_figure(7.2, 5.2, rows=2)
    upper, lower = axes[:, 0]
    places = np.arange(len(table))
    _intervals(upper, places, table, overall, vertical=True)
    upper.axhline(overall, color=NEUTRAL, linestyle="--", linewidth=1)
    upper.set(ylim=(0, 1.02), ylabel=f"share Fresh ({confidence:.0%} interval)", xticks=places)
    upper.set_title(
        f"Class balance by decade of release (dashed: all posters, {overall:.0%}; grey: interval holds it)",
        loc="left",
        fontsize=10,
        color=INK,
    )
    upper.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    lower.bar(places, table["rotten"], color=ROTTEN, width=0.7, label="Rotten")
    lower.bar(places, table["fresh"], bottom=table["rotten"], color=FRESH, width=0.7, label="Fresh")
    for place, count in zip(places, table["posters"], strict=True):
        lower.annotate(
            f"{count}", (place, count), (0, 2), textcoords="offset points", ha="center", fontsize=8
        )
    lower.set(ylabel="posters", xticks=places, ylim=(0, 1.14 * table["posters"].max()))
    lower.legend(frameon=False, fontsize=8, loc="upper left")
    for axis in (upper, lower):
        axis.set_xticklabels(table["value"], rotation=45 if len(table) > 9 else 0)
        axis.set_xlim(-0.6, len(table) - 0.4)
        axis.grid(axis="x", visible=False)
    return figure


def draw_genres(table: pd.DataFrame, overall: float, confidence: float, *, fewest: int) -> Any:
    """Draws the Fresh share per genre with intervals, the freshest on top.

    Args:
        table: as of `audit.class_balance(index, "genre")`.
        overall: the Fresh share of the dataset.
        confidence: that of the table's intervals.
        fewest: genres with fewer posters are left out, unless none would remain.

    Returns: a matplotlib Figure.
    """
    enough = table[table["posters"] >= fewest]
    shown = (enough if len(enough) else table).nlargest(_MOST_GENRES, "posters").sort_values("fresh_share")
    figure, axes = new_figure(6.6, 1.3 + 0.23 * len(shown))
    axis = axes[0, 0]
    places = np.arange(len(shown))
    _intervals(axis, places, shown, overall, vertical=False)
    axis.axvline(overall, color=NEUTRAL, linestyle="--", linewidth=1)
    for place, count in zip(places, shown["posters"], strict=True):
        axis.annotate(
            f"{count}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=NEUTRAL,
        )
    axis.annotate(
        "posters", (1.01, 1.0), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8
    )
    axis.set(xlim=(0, 1), yticks=places)
    axis.set_xlabel(
        f"share Fresh ({confidence:.0%} interval); dashed: all, {overall:.0%}; grey: interval holds it"
    )
    axis.set_yticklabels(shown["value"])
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_title("Class balance by genre", loc="left", fontsize=11, color=INK)
    return figure


def draw_associations(table: pd.DataFrame, confidence: float) -> Any:
    """Draws each property's AUC with its interval, and the AUC among posters of one decade.

    Args:
        table: as of `audit.property_associations`.
        confidence: that of the table's intervals.

    Returns: a matplotlib Figure.
    """
    asked = table[table["verdict"] != "not asked"].iloc[::-1]
    figure, axes = new_figure(7.0, 1.7 + 0.25 * len(asked))
    axis = axes[0, 0]
    for place, row in enumerate(asked.to_dict("records")):
        color = _VERDICTS[row["verdict"]]
        axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=1.6)
        axis.plot(row["auc"], place, "o", color=color, markersize=5)
        axis.plot(row["auc_within_strata"], place, "D", mfc="none", mec=NEUTRAL, markersize=5, mew=0.9)
    axis.axvline(0.5, color=INK, linewidth=1)
    reach = max(0.12, 1.1 * float(np.abs(asked[["ci_low", "ci_high"]].to_numpy() - 0.5).max(initial=0)))
    axis.set(xlim=(0.5 - reach, 0.5 + reach), ylim=(-0.7, len(asked) - 0.3), yticks=range(len(asked)))
    axis.set_yticklabels(asked["property"].str.replace("_", " "))
    axis.set_xlabel(
        f"ROC AUC of the property alone ({confidence:.0%} interval)\n"
        "← larger in Rotten      larger in Fresh →"
    )
    axis.set_title("What could give the label away", loc="left", fontsize=11, color=INK)
    names = {
        "strong": "strong (0.10 or more from 0.5)",
        "weak": f"weak, but not chance (Holm p < {1.0 - confidence:.2g})",
        "none": "not significant",
    }
    for verdict, color in _VERDICTS.items():
        axis.plot([], [], "o-", color=color, markersize=5, linewidth=1.6, label=names[verdict])
    axis.plot([], [], "D", mfc="none", mec=NEUTRAL, markersize=5, label="among posters of the same decade")
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return figure


def _intervals(axis: Any, places: np.ndarray, table: pd.DataFrame, overall: float, *, vertical: bool) -> None:
    """Dots at the Fresh share, lines over the interval; coloured where the interval excludes `overall`."""
    for place, row in zip(places, table.to_dict("records"), strict=True):
        low, share, high = row["ci_low"], row["fresh_share"], row["ci_high"]
        color = FRESH if low > overall else ROTTEN if high < overall else NEUTRAL
        ends, at = [low, high], [place, place]
        line, dot = (at, ends), (place, share)
        if not vertical:
            line, dot = (ends, at), (share, place)
        axis.plot(*line, color=color, linewidth=1.8)
        axis.plot(*dot, "o", color=color, markersize=5)
