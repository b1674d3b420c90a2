"""The sections of the report page on shortcuts, on claims about posters, and on the pointing game."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.evaluation.appearance import Appearance, effect_of, feature_name
from poster_ml.evaluation.page import PageFigure, PageSection
from poster_ml.evaluation.stats import Interval
from poster_ml.workflows.evidence import Evidence


def evidence_sections(place: Path, evidence: Evidence) -> list[PageSection]:
    """Returns the sections of what was tested.

    Args:
        place: `explain/<split>`, with `shortcuts.png` and `appearance.png`.
        evidence: of `evidence.gather_evidence`.
    """
    sections = []
    if evidence.shortcuts is not None:
        sections.append(_shortcuts(place / "shortcuts.png", evidence.shortcuts, evidence.notes))
    elif evidence.notes:
        sections.append(PageSection("Does it lean on shortcuts?", text=evidence.notes))
    if evidence.appearance is not None:
        sections.append(_appearance(place / "appearance.png", evidence.appearance))
    return sections


def pointing_section(pointing: Mapping[str, Any]) -> PageSection:
    """Returns the section on how often a map's highest place lies in what was drawn as the cause."""
    rows = [
        [
            f"{'Fresh' if kind == 'title' else 'Rotten'} map points at the {kind}",
            *(_mean(measured[name]) for name in ("hit_rate", "centre_hit_rate", "area_share")),
            f"{measured['posters']:,}",
        ]
        for kind, measured in pointing.items()
    ]
    text = [
        "A program drew these posters, so the cause of the label is known: how often the highest place of "
        "the map lies in it, beside a map that always points at the middle and the share of the poster that "
        "the cause covers, which a random place would hit. Mean and interval over posters."
    ]
    columns = ["what", "map", "middle", "share of the poster", "posters"]
    return PageSection("Do the maps hit the known cause?", text=text, columns=columns, rows=rows)


def _shortcuts(figure: Path, table: pd.DataFrame, notes: list[str]) -> PageSection:
    changed = [row for row in table.to_dict("records") if row["perturbation"] != "none"]
    lost = [row for row in changed if row["roc_auc_falls"]]
    named = "; ".join(f"{row['perturbation']} ({row['roc_auc_change']:+.3f})" for row in lost)
    text = [
        "The same posters again, changed. A loss says that the model used what was taken away or was "
        "disturbed by the change"
        + (
            "; what was hidden has a control beside it, boxes of the same sizes at other places."
            if any(str(row["perturbation"]).endswith("control") for row in changed)
            else "."
        ),
        (f"ROC AUC falls significantly with: {named}" if lost else "No change lowers ROC AUC significantly")
        + f" (Holm's correction over {len(changed)} changes).",
        *notes,
    ]
    rows = [
        [
            str(row["perturbation"]),
            f"{row['posters']:,}",
            f"{row['roc_auc']:.3f}",
            _change(row, "roc_auc"),
            f"{row['accuracy']:.3f}",
            _change(row, "accuracy"),
        ]
        for row in table.to_dict("records")
    ]
    columns = ["posters changed by", "n", "ROC AUC", "its change", "accuracy", "its change"]
    alt = "Change of ROC AUC with interval for each perturbation"
    pictures = [PageFigure(figure, "Change of ROC AUC by perturbation.", alt, wide=True)]
    return PageSection("Does it lean on shortcuts?", pictures, text, columns, rows)


def _change(row: Mapping[Any, Any], name: str) -> str:
    if row["perturbation"] == "none":
        return ""
    return Interval(*(row[f"{name}_change{end}"] for end in ("", "_ci_low", "_ci_high"))).text(sign=True)


def _appearance(figure: Path, appearance: Appearance) -> PageSection:
    text = [
        *(claim.sentence() for claim in appearance.claims),
        "Each feature alone, at equal year and genre: association, not cause.",
        *appearance.notes,
    ]
    rows = [
        [
            feature_name(row["feature"]),
            f"{row['posters']:,}",
            effect_of(row, "truth").text(1, sign=True),
            effect_of(row, "model").text(1, sign=True),
            f"{row['truth_raw_effect']:+.1f}",
            f"{row['model_raw_effect']:+.1f}",
        ]
        for row in appearance.table.to_dict("records")
    ]
    columns = ["feature", "n", "critics, points", "model, points", "critics, unadjusted", "model, unadjusted"]
    alt = "Effect of each feature on the share of Fresh and on the model's probability, with intervals"
    pictures = [PageFigure(figure, "Critics and model side by side.", alt, wide=True)] if rows else []
    return PageSection("What makes a poster look Fresh?", pictures, text, columns, rows)


def _mean(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.2f} ({score['ci_low']:.2f} to {score['ci_high']:.2f})"
