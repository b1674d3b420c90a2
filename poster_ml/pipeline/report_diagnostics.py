"""The sections of the report page on shortcuts, claims about posters, and what maps are worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.evaluation.appearance import Appearance, effect_of, feature_name
from poster_ml.evaluation.page import PageFigure, PageSection, PageTable
from poster_ml.evaluation.stats import Interval
from poster_ml.pipeline.diagnostics import Diagnostics


def diagnostic_sections(folder: Path, diagnostics: Diagnostics) -> list[PageSection]:
    """Returns the sections of what was tested; one that was not asked for is empty.

    Args:
        folder: `explain/<split>`, with `shortcuts.png` and `appearance.png`.
        diagnostics: of `diagnostics.run_diagnostics`.
    """
    shortcuts = PageSection("Does it lean on shortcuts?", paragraphs=diagnostics.notes)
    if diagnostics.shortcuts is not None:
        shortcuts = _shortcuts(shortcuts, folder / "shortcuts.png", diagnostics.shortcuts)
    appearance = PageSection("What makes a poster look Fresh?")
    if diagnostics.appearance is not None:
        appearance = _appearance(appearance.title, folder / "appearance.png", diagnostics.appearance)
    return [shortcuts, appearance]


def _shortcuts(section: PageSection, figure: Path, table: pd.DataFrame) -> PageSection:
    records = table.to_dict("records")
    changed = [row for row in records if row["perturbation"] != "none"]
    lost = [row for row in changed if row["roc_auc_falls"]]
    named = "; ".join(f"{row['perturbation']} ({row['roc_auc_change']:+.3f})" for row in lost)
    explained = (
        "The same posters again, changed. A loss says that the model used what was taken away or was "
        "disturbed by the change"
    )
    if any(str(row["perturbation"]).endswith("control") for row in changed):
        explained += "; what was hidden has a control beside it, boxes of the same sizes at other places"
    columns = ("posters changed by", "n", "ROC AUC", "its change", "accuracy", "its change")
    rows = []
    for row in records:
        scores = [(f"{row[name]:.3f}", _change(row, name)) for name in ("roc_auc", "accuracy")]
        rows.append([str(row["perturbation"]), f"{row['posters']:,}", *scores[0], *scores[1]])
    return PageSection(
        section.title,
        [
            (
                f"ROC AUC falls significantly with: {named}"
                if lost
                else "No change lowers ROC AUC significantly"
            )
            + f" (Holm's correction over {len(changed)} changes)."
        ],
        [f"{explained}.", *section.paragraphs],
        [PageFigure(figure, "Change of ROC AUC, with its interval, for each perturbation.")],
        [PageTable(columns, rows)],
    )


def _change(row: Mapping[Any, Any], name: str) -> str:
    if row["perturbation"] == "none":
        return ""
    return Interval(*(row[f"{name}_change{end}"] for end in ("", "_ci_low", "_ci_high"))).text(sign=True)


def _appearance(title: str, figure: Path, appearance: Appearance) -> PageSection:
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
        title,
        [claim.sentence() for claim in appearance.claims],
        ["Each feature alone, at equal year and genre: association, not cause.", *appearance.notes],
        [PageFigure(figure, caption)] if rows else (),
        [PageTable(columns, rows)] if rows else (),
    )


def pointing_section(pointing: Mapping[str, Any]) -> PageSection:
    """Returns the section on how often a map's highest place lies in what was drawn as the cause."""
    explained = (
        "A program drew these posters, so the cause of the label is known: how often the highest place of "
        "the map lies in it, beside a map that always points at the middle and the share of the poster that "
        "the cause covers, which a random place would hit. Mean and interval over posters."
    )
    columns = ("what", "map", "middle", "share of the poster", "posters")
    rows = [
        [
            f"{'Fresh' if kind == 'title' else 'Rotten'} map points at the {kind}",
            *(_mean(measured[name], 2) for name in ("hit_rate", "centre_hit_rate", "area_share")),
            f"{measured['posters']:,}",
        ]
        for kind, measured in pointing.items()
    ]
    title = "Do the maps hit the known cause?"
    return PageSection(title, (), [explained], (), [PageTable(columns, rows)]) if rows else PageSection(title)


def faithfulness_section(measured: Mapping[str, Any] | None) -> PageSection:
    """Returns the section on how the model's maps compare with maps that know nothing of the model."""
    title = "Do the maps show what the model uses?"
    if measured is None:
        return PageSection(title)
    explained = (
        "Deletion: the class probability while the places that the map ranks highest are taken out "
        "(lower is better). Insertion: while they are put back (higher is better). ROAD: how much more is "
        "lost when the highest places are imputed than when the lowest are (higher is better). "
        "Mean and interval over posters."
    )
    measures = ("deletion", "insertion", "road")
    rows = [
        [name.replace("_", " "), *(_mean(scores[measure], 3) for measure in measures)]
        for name, scores in measured["scores"].items()
    ]
    findings = [_advantage(control, scores) for control, scores in measured["against"].items()]
    return PageSection(title, findings, [explained], (), [PageTable(("map", *measures), rows)])


def _advantage(control: str, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Says in which scores the maps are significantly better than a control that knows nothing."""
    better = [name for name, score in scores.items() if score["better"]]
    rest = [name for name in scores if name not in better]
    if not better:
        return f"Against {control} the maps are not shown to be better."
    end = f"; not shown in {_listed(rest)}" if rest else ""
    return f"Against {control} the maps are better in {_listed(better)}{end}."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def _mean(score: Mapping[str, float], digits: int) -> str:
    return Interval(score["mean"], score["ci_low"], score["ci_high"]).text(digits)
