"""The sections of the report page on shortcuts, claims about posters, and what maps are worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poster_ml.evaluation.appearance import effect_of, feature_name
from poster_ml.evaluation.page import PageFigure, PageSection, PageTable
from poster_ml.evaluation.stats import Interval
from poster_ml.explain.perturbations import change_of
from poster_ml.pipeline.diagnostics import Diagnostics

SHORTCUTS, APPEARANCE = "Does it lean on shortcuts?", "What makes a poster look Fresh?"
POINTING, FAITHFULNESS = "Do the maps hit the known cause?", "Do the maps show what the model uses?"
MEASURES = ("deletion", "insertion", "road")
CHANGED = (
    "The same posters again, changed. A loss says that the model used what was taken away or was "
    "disturbed by the change. Where boxes were hidden, the control hides as many of the same sizes elsewhere."
)
DRAWN = (
    "A program drew these posters, so the cause of the label is known: how often the highest place of "
    "the map lies in it, beside a map that always points at the middle and the share of the poster that "
    "the cause covers, which a random place would hit. Mean and interval over posters."
)
REMOVED = (
    "Deletion: the class probability while the places that the map ranks highest are taken out "
    "(lower is better). Insertion: while they are put back (higher is better). ROAD: how much more is "
    "lost when the highest places are imputed than when the lowest are (higher is better). "
    "Mean and interval over posters."
)


def diagnostic_sections(folder: Path, diagnostics: Diagnostics) -> list[PageSection]:
    """Returns the sections of what was tested; one that was not asked for is empty.

    Args:
        folder: `explain/<split>`, with `shortcuts.png` and `appearance.png`.
        diagnostics: of `diagnostics.run_diagnostics`.
    """
    return [
        _shortcuts(folder / "shortcuts.png", diagnostics),
        _appearance(folder / "appearance.png", diagnostics),
    ]


def _shortcuts(figure: Path, diagnostics: Diagnostics) -> PageSection:
    table = diagnostics.shortcuts
    if table is None:
        return PageSection(SHORTCUTS, paragraphs=diagnostics.notes)
    lost = [
        f"{row.perturbation} ({row.roc_auc_change:+.3f})"
        for row in table[table["roc_auc_falls"]].itertuples()
    ]
    finding = (
        f"ROC AUC falls significantly with: {'; '.join(lost)}"
        if lost
        else "No change lowers ROC AUC significantly"
    )
    rows = []
    for number, row in enumerate(table.to_dict("records")):
        scores = [row["perturbation"], f"{row['posters']:,}"]
        for name in ("roc_auc", "accuracy"):
            scores += [f"{row[name]:.3f}", change_of(row, name).text(sign=True) if number else ""]
        rows.append(scores)
    columns = ("posters changed by", "n", "ROC AUC", "its change", "accuracy", "its change")
    return PageSection(
        SHORTCUTS,
        [f"{finding} (Holm's correction over {len(table) - 1} changes)."],
        [CHANGED, *diagnostics.notes],
        [PageFigure(figure, "Change of ROC AUC, with its interval, for each perturbation.")],
        [PageTable(columns, rows)],
    )


def _appearance(figure: Path, diagnostics: Diagnostics) -> PageSection:
    appearance = diagnostics.appearance
    if appearance is None:
        return PageSection(APPEARANCE)
    columns = ("feature", "n", "critics, points", "model, points", "critics, unadjusted", "model, unadjusted")
    rows = [
        [
            feature_name(row["feature"]),
            f"{row['posters']:,}",
            *(effect_of(row, who).text(1, sign=True) for who in ("truth", "model")),
            *(f"{row[f'{who}_raw_effect']:+.1f}" for who in ("truth", "model")),
        ]
        for row in appearance.table.to_dict("records")
    ]
    caption = "Effect of each feature on critics and model side by side, with intervals."
    return PageSection(
        APPEARANCE,
        [claim.sentence() for claim in appearance.claims],
        ["Each feature alone, at equal year and genre: association, not cause.", *appearance.notes],
        [PageFigure(figure, caption)] if rows else (),
        [PageTable(columns, rows)] if rows else (),
    )


def pointing_section(pointing: Mapping[str, Any]) -> PageSection:
    """Returns the section on how often a map's highest place lies in what was drawn as the cause."""
    if not pointing:
        return PageSection(POINTING)
    columns = ("what", "map", "middle", "share of the poster", "posters")
    rows = [
        [
            f"{'Fresh' if kind == 'title' else 'Rotten'} map points at the {kind}",
            *(_mean(measured[name], 2) for name in ("hit_rate", "centre_hit_rate", "area_share")),
            f"{measured['posters']:,}",
        ]
        for kind, measured in pointing.items()
    ]
    return PageSection(POINTING, paragraphs=[DRAWN], tables=[PageTable(columns, rows)])


def faithfulness_section(measured: Mapping[str, Any] | None) -> PageSection:
    """Returns the section on how the model's maps compare with maps that know nothing of the model."""
    if measured is None:
        return PageSection(FAITHFULNESS)
    rows = [
        [name, *(_mean(scores[measure], 3) for measure in MEASURES)]
        for name, scores in measured["scores"].items()
    ]
    findings = []
    for control, scores in measured["against"].items():
        better = [name for name in MEASURES if scores[name]["better"]]
        rest = [name for name in MEASURES if name not in better]
        shown = f"better in {_listed(better)}" if better else "not shown to be better"
        end = f"; not shown in {_listed(rest)}" if better and rest else ""
        findings.append(f"Against {control} the maps are {shown}{end}.")
    return PageSection(FAITHFULNESS, findings, [REMOVED], tables=[PageTable(("map", *MEASURES), rows)])


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _mean(score: Mapping[str, float], digits: int) -> str:
    return Interval(score["mean"], score["ci_low"], score["ci_high"]).text(digits)
