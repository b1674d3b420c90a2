"""The report page of a run: what was evaluated, on one self-contained page, and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poster_ml.config import ExperimentConfig, flatten
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.findings import finding_sentences, headlines, metric_rows
from poster_ml.evaluation.page import PageFigure, PageSection, PageTable, ReportPage, render, write_page
from poster_ml.files import atomic_path
from poster_ml.pipeline.evaluate import EvaluationReport
from poster_ml.pipeline.report_diagnostics import diagnostic_sections, faithfulness_section, pointing_section
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
    config: ExperimentConfig,
    dataset: PreparedDataset,
    profile: str,
    trained_on: str = "",
) -> None:
    """Writes `report.html` and `model_card.md` into a folder that holds the run's artifacts.

    Args:
        folder: with `curves/`, `evaluation/<split>/` and `explain/<split>/`.
        run_id: named in the facts.
        evaluation: of the split that the page reports.
        config: the resolved configuration, listed on the page.
        dataset: what was evaluated on.
        profile: `demo` or `full`; a demo is called one in the subtitle.
        trained_on: fingerprint of the dataset that the model was fitted on; empty: of `dataset`.
    """
    result, split, demo = evaluation.result, SPLIT_NAMES[evaluation.split], profile == "demo"
    findings, metrics, notes = finding_sentences(result), metric_rows(result), result.notes
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
    values, about = ("Metric", f"Value ({result.confidence:.0%} interval)"), ("What", "Value")
    posters = "synthetic posters, demo profile" if demo else "posters"
    page = ReportPage(
        title=f"{config.variant}: Fresh or Rotten?",
        subtitle=f"{result.posters} {split} {posters}, {config.protocol} protocol",
        headlines=headlines(result),
        sections=[
            PageSection("What this says", findings, notes),
            PageSection("All numbers", tables=[PageTable(values, metrics)]),
            *_figure_sections(folder, evaluation),
            PageSection("What was run", tables=[PageTable(about, [*(facts | settings).items()])]),
        ],
    )
    write_page(folder / "report.html", page)
    named = ("variant", "protocol", "model.weights", "seed")  # the others: experiment.yaml of the run
    card = render(
        "model_card.md.j2",
        name=config.variant,
        split=split,
        result=result,
        findings=findings,
        metrics=metrics,
        notes=notes,
        training_data=fitted_on,
        limits=["Synthetic posters: it says nothing about real ones."] if demo else [],
        facts=facts | {key: settings[key] for key in named},
    )
    with atomic_path(folder / "model_card.md") as temporary:
        temporary.write_text(card, encoding="utf-8")


def _figure_sections(folder: Path, evaluation: EvaluationReport) -> list[PageSection]:
    """Everything between the numbers and the facts; what was not measured gives an empty section."""
    result, explained = evaluation.result, folder / "explain" / evaluation.split
    values = {name: interval.text() for name, interval in result.intervals.items()}
    curves = {name: caption.format(**values) for name, caption in CURVES.items()}
    grids = {
        path.name: f"Output of {path.stem.removeprefix('activations_')} for the most probably Fresh poster."
        for path in sorted(explained.glob("activations_*.png"))
    }
    return [
        _figures("How well it separates Fresh from Rotten", result.folder, curves, wide=False),
        _figures("Training", folder / "curves", TRAINING),
        _figures("Where it is good and where it is bad", result.folder, SLICES),
        *diagnostic_sections(explained, evaluation.diagnostics),
        _figures("What it looks at", explained, SHEETS),
        faithfulness_section(evaluation.faithfulness),
        pointing_section(evaluation.diagnostics.pointing),
        _figures("Inside the network", explained, grids),
    ]


def _figures(title: str, folder: Path, captions: Mapping[str, str], wide: bool = True) -> PageSection:
    """Returns the section of those figures that the folder holds."""
    found = [(folder / name, text) for name, text in captions.items() if (folder / name).is_file()]
    return PageSection(title, figures=[PageFigure(path, text, wide) for path, text in found])
