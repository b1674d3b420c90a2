"""Writes what makes a poster look Fresh: `appearance.csv`, `appearance.json` and the forest plot."""

from __future__ import annotations

import json
from pathlib import Path

from poster_ml.evaluation.appearance import Appearance, effect_of, feature_name
from poster_ml.figures import FRESH, INK, NEUTRAL, new_figure, save_figure
from poster_ml.files import atomic_path

SERIES = (("truth", "critics' verdicts", INK, 0.17), ("model", "the model", FRESH, -0.17))


def write_appearance(folder: Path, appearance: Appearance) -> Path:
    """Writes the table, the claims' sentences and, where a feature was asked, `appearance.png`.

    Args:
        folder: made where missing.
        appearance: of `appearance.measure_appearance`.

    Returns: the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "appearance.csv") as temporary:
        appearance.table.to_csv(temporary, index=False, float_format="%.6g")
    record = {
        "claims": [
            {"claim": one.claim.text, "feature": one.feature, "verdicts": dict(one.verdicts)}
            for one in appearance.claims
        ],
        "sentences": [one.sentence() for one in appearance.claims],
        "notes": appearance.notes,
    }
    with atomic_path(folder / "appearance.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if len(appearance.table):
        draw_appearance(folder / "appearance.png", appearance)
    return folder


def draw_appearance(path: Path, appearance: Appearance) -> Path:
    """Draws every feature's effect on the critics' verdicts and on the model, claimed features first."""
    claimed = [one.feature for one in appearance.claims if one.feature]
    rows = appearance.table.to_dict("records")
    rows.sort(key=lambda row: claimed.index(row["feature"]) if row["feature"] in claimed else len(claimed))
    figure, axes = new_figure(7.4, 1.5 + 0.36 * len(rows))
    axis = axes[0][0]
    axis.axvline(0.0, color=NEUTRAL, linewidth=1.0)
    for position, row in enumerate(reversed(rows)):
        for outcome, _, colour, shift in SERIES:
            effect = effect_of(row, outcome)
            height = position + shift
            axis.plot([effect.low, effect.high], [height, height], color=colour, linewidth=1.7)
            there = row[f"{outcome}_p_holm"] < 1.0 - appearance.confidence
            axis.plot(
                [effect.estimate], [height], marker="o", markersize=5.5, color=colour,
                markerfacecolor=colour if there else "white", markeredgewidth=1.4,
            )  # fmt: skip
        axis.annotate(
            f"n = {row['posters']:,}",
            (1.01, position),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=NEUTRAL,
            annotation_clip=False,
        )
    if claimed and len(rows) > len(claimed):
        axis.axhline(len(rows) - len(claimed) - 0.5, color=NEUTRAL, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.set_yticks(range(len(rows)), [feature_name(row["feature"]) for row in reversed(rows)])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(
        "percentage points of Fresh per standard deviation, at equal year and genre\n"
        f"(line: {appearance.confidence:.0%} interval; filled: still there, corrected for all features)",
        fontsize=9,
    )
    axis.set_title("What is associated with Fresh", loc="left", fontsize=10)
    handles = [
        axis.plot([], [], color=colour, marker="o", markersize=5, linewidth=1.7, label=label)[0]
        for _, label, colour, _ in SERIES
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return save_figure(figure, path)
