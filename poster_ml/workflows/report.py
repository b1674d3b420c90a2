"""The report page of a run: what was judged, on one self-contained page, and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poster_ml.config import ExperimentConfig, flatten
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.model_card import model_card_markdown
from poster_ml.evaluation.page import PageFigure, PageSection, evaluation_page, write_page
from poster_ml.tracking.runs import git_commit
from poster_ml.workflows.judging import Judgement
from poster_ml.workflows.report_evidence import evidence_sections, pointing_section

SHEETS = {
    "cam_fresh_top8.png": "The posters most surely Fresh: poster, map, overlay. Warm speaks for Fresh.",
    "cam_rotten_top8.png": "The posters most surely Rotten. Cold speaks for Rotten.",
    "cam_false_fresh_worst8.png": "The worst errors: called Fresh, truly Rotten.",
    "cam_false_rotten_worst8.png": "The worst errors: called Rotten, truly Fresh.",
}
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


def write_report(
    folder: Path,
    run_id: str,
    judgement: Judgement,
    config: ExperimentConfig,
    dataset: PreparedDataset,
    profile: str,
) -> None:
    """Writes `report.html` and `model_card.md` into a folder that holds the run's artifacts.

    Args:
        folder: with `curves/`, `evaluation/<split>/` and `explain/<split>/`.
        run_id: named in the facts.
        judgement: of the split that the page reports.
        config: the resolved configuration, listed in the facts.
        dataset: what was trained and judged on.
        profile: `demo` or `full`; a demo is called one in the subtitle.
    """
    split = SPLIT_NAMES[judgement.split]
    posters = "synthetic posters, demo profile" if profile == "demo" else "posters"
    facts = _facts(run_id, config, dataset)
    page = evaluation_page(
        judgement.result,
        title=f"{config.variant}: Fresh or Rotten?",
        subtitle=f"{judgement.result.posters} {split} {posters}, {config.protocol} protocol",
        facts=facts,
        sections=_explanation(folder, judgement),
        curves=folder / "curves" / "accuracy_loss.png",
    )
    write_page(folder / "report.html", page)
    balance = dataset.manifest["class_balance"]["train"]
    card = model_card_markdown(
        judgement.result,
        name=config.variant,
        split=split,
        facts=facts,
        training_data=(
            f"{balance['posters']} posters, {balance['fresh_share']:.1%} of them Fresh; "
            f"dataset fingerprint {dataset.fingerprint[:16]}"
        ),
        extra_limits=["Synthetic posters: it says nothing about real ones."] if profile == "demo" else [],
    )
    (folder / "model_card.md").write_text(card, encoding="utf-8")


def _facts(run_id: str, config: ExperimentConfig, dataset: PreparedDataset) -> dict[str, str]:
    known = {
        "run": run_id,
        "commit": git_commit(),
        "dataset": f"{dataset.folder.name}, fingerprint {dataset.fingerprint}",
        "posters": f"{len(dataset.index)} of {dataset.size}x{dataset.size} pixels",
        "split": str(dataset.manifest["options"]["split"]),
    }
    return known | {key: str(value) for key, value in flatten(config).items()}


def _explanation(folder: Path, judgement: Judgement) -> list[PageSection]:
    place = folder / "explain" / judgement.split
    sheets = [
        PageFigure(place / name, caption, caption, wide=True)
        for name, caption in SHEETS.items()
        if (place / name).is_file()
    ]
    grids = [
        PageFigure(path, _layer_caption(path), _layer_caption(path), wide=True)
        for path in sorted(place.glob("activations_*.png"))
    ]
    sections = [*evidence_sections(place, judgement.evidence), PageSection("What it looks at", sheets)]
    if judgement.faithfulness is not None:
        sections.append(_faithfulness(judgement.faithfulness))
    if judgement.evidence.pointing:
        sections.append(pointing_section(judgement.evidence.pointing))
    sections.append(PageSection("Inside the network", grids))
    return sections


def _layer_caption(path: Path) -> str:
    return f"Output of {path.stem.removeprefix('activations_')} for the poster most surely Fresh."


def _faithfulness(measured: dict[str, Any]) -> PageSection:
    """A table of how the model's maps compare with maps that know nothing of the model."""
    measures = ("deletion", "insertion", "road")
    rows = []
    for name, scores in measured["scores"].items():
        cells = [_interval(scores[measure]) for measure in measures]
        rows.append([name.replace("_", " "), *cells])
    text = [
        "Deletion: the class probability while the places that the map ranks highest are taken out "
        "(lower is better). Insertion: while they come back (higher is better). ROAD: how much more is lost "
        "when the highest places are imputed than when the lowest are (higher is better). "
        "Mean and interval over posters; what is better is said after Holm's correction over all of them.",
        *(_advantage(control, scores) for control, scores in measured["against"].items()),
    ]
    return PageSection(
        "Do the maps show what the model uses?", text=text, columns=["map", *measures], rows=rows
    )


def _advantage(control: str, scores: dict[str, dict[str, float]]) -> str:
    """Says in which scores the maps are significantly better than a control that knows nothing."""
    better = [name for name, score in scores.items() if score["better"]]
    rest = [name for name in scores if name not in better]
    if not better:
        return f"Against {control} the maps are not shown to be better."
    end = f"; not shown in {_listed(rest)}" if rest else ""
    return f"Against {control} the maps are better in {_listed(better)}{end}."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def _interval(score: dict[str, float]) -> str:
    return f"{score['mean']:.3f} ({score['ci_low']:.3f} to {score['ci_high']:.3f})"
