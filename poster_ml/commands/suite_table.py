"""The suite's table: the study's row, ours over seeds, what needs no poster, significant differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.commands.compare import logged_predictions
from poster_ml.config import EvaluateConfig
from poster_ml.evaluation.compare import ComparisonTable, compare
from poster_ml.evaluation.stats import Interval
from poster_ml.files import atomic_path, open_output_folder
from poster_ml.models.catalogue import FAMILIES
from poster_ml.tracking.runs import RunRecord

# Train and validation accuracy as the study's README gives them.
STUDY_ROWS = {
    "basic_cnn": ".99 / .55",
    "regularized_cnn": ".75 / .56",
    "augmented_cnn": ".59 / .58",
    "vgg16_features": ".62 / .61",
    "vgg16_features_augmented": ".62 / .61",
    "vgg16": ".62 / .62",
    "inception_resnet_v2": ".66 / .62",
    "inception_v3": ".64 / .61",
}
BASELINES = {
    "val_baseline_year_roc_auc": "year, no poster",
    "val_baseline_genre_roc_auc": "genres, no poster",
    "val_baseline_year_genre_roc_auc": "year + genres, no poster",
    "val_baseline_colour_roc_auc": "colour histogram",
}
PAIR_FILES = ("pairs.csv", "pairs.png", "comparison.txt")
HEADER = ("variant", "seeds", "study train / val", "train accuracy", "val accuracy", "val ROC AUC", "epochs")


@dataclass(frozen=True)
class SuiteTable:
    """All runs of a suite on the validation posters.

    Attributes:
        records: runs by variant, in the order of the suite.
        scores: mean over the runs, with intervals; and the pairs.
        random: variants whose backbone began with random weights: shown, and compared with nothing.
    """

    records: dict[str, list[RunRecord]]
    scores: ComparisonTable
    random: tuple[str, ...]

    def markdown(self) -> str:
        """Returns one row per variant as a Markdown table, what needs no network below it."""
        by_name = {score.name: score for score in self.scores.settings}
        lines = [_line(HEADER), "|" + "---|" * len(HEADER)]
        for name, records in self.records.items():
            score = by_name[name]
            auc, accuracy = score.texts()
            mark = " (random weights)" if name in self.random else ""
            lines.append(
                _line(
                    (
                        name + mark,
                        score.runs,
                        STUDY_ROWS.get(name, "-"),
                        _mean([record.metrics["best_epoch_accuracy"] for record in records]),
                        accuracy,
                        auc,
                        _epochs(records),
                    )
                )
            )
        lines.append(_line(("majority", "", "", "", f"{self.scores.majority_accuracy:.3f}", "0.500", "")))
        metrics = next(iter(self.records.values()))[0].metrics
        for key, label in BASELINES.items():
            if key in metrics:
                found = Interval(metrics[key], metrics[f"{key}_ci_low"], metrics[f"{key}_ci_high"])
                lines.append(_line((label, "", "", "", "", found.text(), "")))
        lines += [
            "",
            f"{self.scores.posters:,} validation posters. Mean over seeds; in brackets the "
            f"{self.scores.confidence:.0%} interval for other posters and, from two seeds on, other seeds; "
            "± the standard deviation between seeds. Train accuracy: while training, with dropout and "
            "augmentation; val accuracy: at each run's own threshold. Epochs: kept of trained.",
        ]
        if self.random:
            lines.append(
                "Random weights: the backbone's ImageNet weights were not given, so the row says nothing of "
                "the study's variant and is compared with nothing."
            )
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row per run with its numbers."""
        return [_row(record, name in self.random) for name, runs in self.records.items() for record in runs]

    def best_auc(self) -> float:
        """Returns the highest mean ROC AUC."""
        return self.scores.settings[0].roc_auc.estimate

    def write(self, folder: Path) -> list[Path]:
        """Writes `suite.*` (md, csv, png) and, with pairs, `pairs.csv`, `pairs.png`, `comparison.txt`.

        Those of an older table that this one does not have are removed.

        Returns: what was written.
        Raises: OutputError where the folder holds other files.
        """
        open_output_folder(folder, "suite")
        for name in PAIR_FILES:
            (folder / name).unlink(missing_ok=True)
        texts = {
            "suite.md": self.markdown() + "\n",
            "suite.csv": pd.DataFrame(self.rows()).to_csv(index=False),
        }
        if self.scores.pairs:
            texts["pairs.csv"] = self.scores.frame().to_csv(index=False)
            texts["comparison.txt"] = self.scores.text() + "\n"
            self.scores.draw(folder / "pairs.png")
        for name, text in texts.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        marks = dict.fromkeys(self.random, " (random weights)")
        self.scores.draw_settings(folder / "suite.png", "The suite on validation: ", marks)
        drawn = ["suite.png"] + (["pairs.png"] if self.scores.pairs else [])
        return [folder / name for name in [*texts, *drawn]]


def build_table(
    records: dict[str, list[RunRecord]], confidence: float = EvaluateConfig().confidence
) -> SuiteTable:
    """Fetches what the runs logged and compares the variants.

    Args:
        records: finished training runs by variant, at least one.
        confidence: of the intervals, 0.5..0.999.

    Raises: TrackingError for a run without validation predictions; EvaluationError where they don't fit.
    """
    random = tuple(name for name, runs in records.items() if any(map(_starts_random, runs)))
    scores = compare(
        {name: [logged_predictions(run, "val") for run in runs] for name, runs in records.items()},
        threshold={
            name: [run.metrics.get("threshold", 0.5) for run in runs] for name, runs in records.items()
        },
        confidence=confidence,
        not_compared=random,
    )
    return SuiteTable(records, scores, random)


def _starts_random(record: RunRecord) -> bool:
    family = FAMILIES.get(record.params.get("model.family", ""))
    return family is not None and family.has_backbone and record.params.get("model.weights") == "none"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}"


def _epochs(records: Sequence[RunRecord]) -> str:
    """Says "7 of 12" for every seed, once where all are alike."""
    counts = [
        f"{record.metrics['best_epoch']:.0f} of {record.metrics.get('epochs', float('nan')):.0f}"
        for record in records
    ]
    return ", ".join(dict.fromkeys(counts))


def _row(record: RunRecord, random: bool) -> dict[str, Any]:
    """The numbers of one run; training accuracy is that of the kept epoch."""
    names = ("val_accuracy", "val_roc_auc", "val_log_loss", "val_brier")
    intervals = [f"{name}_ci_{end}" for name in names for end in ("low", "high")]
    wanted = ("best_epoch_accuracy", *names, *intervals, "val_majority_accuracy", "best_epoch", "epochs")
    numbers = {name: record.metrics.get(name, float("nan")) for name in wanted}
    return {
        "name": record.name,
        "variant": record.variant,
        "seed": record.params.get("seed", ""),
        "random_weights": random,
        "run_id": record.run_id,
        **numbers,
    }
