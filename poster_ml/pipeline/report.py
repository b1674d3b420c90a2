"""The report page of a run: what was evaluated, on one self-contained page, and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.config import flatten
from poster_ml.evaluation.appearance import feature_name
from poster_ml.evaluation.findings import (
    SCORE_COLUMNS,
    finding_sentences,
    headlines,
    metric_rows,
    score_rows,
)
from poster_ml.evaluation.page import PageSection, render, write_page
from poster_ml.evaluation.stats import Interval
from poster_ml.files import write_text
from poster_ml.pipeline.diagnostics import Diagnostics
from poster_ml.pipeline.evaluate import EvaluationReport
from poster_ml.pipeline.task import Task
from poster_ml.tracking.runs import git_commit

# File and what it shows; names in braces are filled with the metric and its interval.
CURVES = {
    "roc.png": "ROC curve, area {roc_auc}: how many Fresh posters are found for how many Rotten ones.",
    "precision_recall.png": "Precision against recall, average precision {average_precision}: how pure the "
    "list of Fresh posters is as it grows.",
    "confusion_matrix.png": "Confusion matrix, accuracy {accuracy}: true class by row, what the model called "
    "it by column.",
    "calibration.png": "Calibration, ECE {ece}: whether posters given 70 % turn out Fresh 70 % of the time.",
}
TRAINING = {"accuracy_loss.png": "Accuracy, loss, ROC AUC and learning rate by epoch, the best one marked."}
SLICES = {"slices.png": "ROC AUC, with its interval, by group of posters."}
SHEETS = {
    "cam_fresh_top8.png": "The highest probabilities of Fresh: poster, map, overlay. Warm speaks for Fresh.",
    "cam_rotten_top8.png": "The lowest probabilities of Fresh. Cold speaks for Rotten.",
    "cam_false_fresh_worst8.png": "The worst errors: called Fresh, true label Rotten.",
    "cam_false_rotten_worst8.png": "The worst errors: called Rotten, true label Fresh.",
}
SHORTCUTS = {"shortcuts.png": "Change of ROC AUC, with its interval, for each perturbation."}
APPEARANCE = {"appearance.png": "Effect of each feature on critics and model side by side, with intervals."}
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
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
CAVEATS = {
    "train": "A model knows the posters it was fitted on: figures of training posters are too high.",
    "val": "Validation posters also choose a model's epoch and threshold: their figures are a little too "
    "high; quote those of the test posters.",
}


def write_report(
    folder: Path,
    run_id: str,
    evaluation: EvaluationReport,
    task: Task,
    trained_on: str = "",
) -> None:
    """Writes `report.html` and `model_card.md` into a folder that holds the run's artifacts.

    Args:
        folder: with `curves/`, `evaluation/<split>/` and `explain/<split>/`.
        run_id: named in the facts.
        evaluation: of the split that the page reports.
        task: configuration, listed on the page; dataset that was evaluated on; the subtitle says
            whether it is a demo.
        trained_on: fingerprint of the dataset the model was fitted on; empty: that of `task`.
    """
    result, split, demo = evaluation.result, SPLIT_NAMES[evaluation.split], task.profile == "demo"
    config, dataset = task.config, task.dataset
    findings, metrics, notes = finding_sentences(result), metric_rows(result), result.notes
    scores = score_rows(result)
    balance = dataset.manifest["class_balance"]["train"]
    fitted_on = f"{balance['posters']} posters, {balance['fresh_share']:.1%} of them Fresh."
    if trained_on not in ("", dataset.fingerprint):
        fitted_on = f"Another dataset than it was evaluated on: fingerprint {trained_on}."
    elif evaluation.split in CAVEATS:
        notes = [CAVEATS[evaluation.split], *notes]
    settings = {key: str(value) for key, value in flatten(config).items()}
    facts = {
        "run": run_id,
        "commit": git_commit(),
        "dataset": f"{dataset.folder.name}, fingerprint {dataset.fingerprint}",
        "posters": f"{len(dataset.index)} of {dataset.size}x{dataset.size} pixels",
        "split": str(dataset.manifest["options"]["split"]),
    }
    values = ["Metric", f"Value ({result.confidence:.0%} interval)"]
    posters = "synthetic posters, demo profile" if demo else "posters"
    write_page(
        folder / "report.html",
        f"{config.variant}: Fresh or Rotten?",
        f"{result.posters} {split} {posters}, {config.protocol} protocol",
        headlines(result),
        [
            PageSection("What this says", findings, notes),
            PageSection(
                "With year and genres",
                table=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)) if scores else None,
            ),
            PageSection("All numbers", table=pd.DataFrame(metrics, columns=values)),
            *_measured_sections(folder, evaluation),
            PageSection(
                "What was run", table=pd.DataFrame([*(facts | settings).items()], columns=["What", "Value"])
            ),
        ],
    )
    named = ("variant", "protocol", "model.weights", "seed")  # the others: experiment.yaml of the run
    card = render(
        "model_card.md.j2",
        name=config.variant,
        split=split,
        result=result,
        findings=findings,
        metrics=metrics,
        scores=scores,
        notes=notes,
        training_data=fitted_on,
        limits=["Synthetic posters: it says nothing about real ones."] if demo else [],
        facts=facts | {key: settings[key] for key in named},
    )
    write_text(folder / "model_card.md", card)


def _measured_sections(folder: Path, evaluation: EvaluationReport) -> list[PageSection]:
    """Everything between the numbers and the facts; what was not measured gives an empty section."""
    result, explained = evaluation.result, folder / "explain" / evaluation.split
    values = {name: interval.text() for name, interval in result.intervals.items()}
    curves = {name: caption.format(**values) for name, caption in CURVES.items()}
    grids = {
        path.name: f"Output of {path.stem.removeprefix('activations_')} for the most probably Fresh poster."
        for path in sorted(explained.glob("activations_*.png"))
    }
    separates = "How well it separates Fresh from Rotten"
    return [
        PageSection(separates, figures=_found(result.folder, curves), wide=False),
        PageSection("Training", figures=_found(folder / "curves", TRAINING)),
        PageSection("Where it is good and where it is bad", figures=_found(result.folder, SLICES)),
        *diagnostic_sections(explained, evaluation.diagnostics),
        PageSection("What it looks at", figures=_found(explained, SHEETS)),
        _faithfulness(evaluation.faithfulness),
        pointing_section(evaluation.diagnostics.pointing),
        PageSection("Inside the network", figures=_found(explained, grids)),
    ]


def _found(folder: Path, captions: Mapping[str, str]) -> dict[Path, str]:
    """Returns those figures that the folder holds."""
    return {folder / name: text for name, text in captions.items() if (folder / name).is_file()}


def diagnostic_sections(folder: Path, diagnostics: Diagnostics) -> list[PageSection]:
    """Returns the sections on shortcuts and on claims about posters; one that was not asked for is empty.

    Args:
        folder: `explain/<split>`, with `shortcuts.png` and `appearance.png`.
        diagnostics: of `diagnostics.run_diagnostics`.
    """
    shortcuts = PageSection("Does it lean on shortcuts?", paragraphs=diagnostics.notes)
    table = diagnostics.shortcuts
    if table is not None:
        falls = table[table["roc_auc_falls"]]
        lost = [f"{row.perturbation} ({row.roc_auc_change:+.3f})" for row in falls.itertuples()]
        finding = f"ROC AUC falls significantly with: {'; '.join(lost)}"
        finding = finding if lost else "No change lowers ROC AUC significantly"
        shown: dict[str, Any] = {
            "posters changed by": table["perturbation"],
            "n": table["posters"].map("{:,}".format),
        }
        rows = table.to_dict("records")[1:]  # the first one is changed by nothing
        for name, title in (("roc_auc", "ROC AUC"), ("accuracy", "accuracy")):
            shown[title] = table[name].map("{:.3f}".format)
            shown[f"change of {title}"] = [
                "",
                *(Interval.of(row, f"{name}_change").text(sign=True) for row in rows),
            ]
        shortcuts = PageSection(
            shortcuts.title,
            [f"{finding} (Holm's correction over {len(rows)} changes)."],
            [CHANGED, *diagnostics.notes],
            _found(folder, SHORTCUTS),
            pd.DataFrame(shown),
        )
    appearance, title = diagnostics.appearance, "What makes a poster look Fresh?"
    if appearance is None:
        return [shortcuts, PageSection(title)]
    shown = {"feature": appearance.table["feature"].map(feature_name)}
    if len(appearance.table):
        shown["n"] = appearance.table["posters"].map("{:,}".format)
        rows = appearance.table.to_dict("records")
        for outcome, who in (("truth", "critics"), ("model", "model")):
            shown[f"{who}, points"] = [
                Interval.of(row, f"{outcome}_effect").text(1, sign=True) for row in rows
            ]
            shown[f"{who}, unadjusted"] = appearance.table[f"{outcome}_raw_effect"].map("{:+.1f}".format)
    claims = PageSection(
        title,
        [claim.sentence for claim in appearance.claims],
        ["Each feature alone, at equal year and genre: association, not cause.", *appearance.notes],
        _found(folder, APPEARANCE),
        pd.DataFrame(shown) if len(appearance.table) else None,
    )
    return [shortcuts, claims]


def pointing_section(pointing: Mapping[str, Any]) -> PageSection:
    """Returns the section on how often a map's highest place lies in what was drawn as the cause."""
    title = "Do the maps hit the known cause?"
    if not pointing:
        return PageSection(title)
    speaks = {"title": "Fresh map points at the title", "figures": "Rotten map points at the figures"}
    columns = {"hit_rate": "map", "centre_hit_rate": "middle", "area_share": "share of the poster"}
    rows = [
        {"what": speaks[kind]}
        | {column: Interval.of_record(measured[name]).text(2) for name, column in columns.items()}
        | {"posters": f"{measured['posters']:,}"}
        for kind, measured in pointing.items()
    ]
    return PageSection(title, paragraphs=[DRAWN], table=pd.DataFrame(rows))


def _faithfulness(measured: Mapping[str, Any] | None) -> PageSection:
    """The section on how the model's maps compare with maps that know nothing of the model."""
    title, names = "Do the maps show what the model uses?", ("deletion", "insertion", "road")
    if measured is None:
        return PageSection(title)
    rows = [
        {"map": map_name} | {name: Interval.of_record(scores[name]).text() for name in names}
        for map_name, scores in measured["scores"].items()
    ]
    findings = []
    for control, scores in measured["against"].items():
        better = [name for name in names if scores[name]["better"]]
        rest = ", ".join(name for name in names if name not in better)
        verdict = f"better in {', '.join(better)}" if better else "not shown to be better"
        verdict += f"; not in {rest}" if better and rest else ""
        findings.append(f"Against {control} the maps are {verdict}.")
    return PageSection(title, findings, [REMOVED], table=pd.DataFrame(rows))
