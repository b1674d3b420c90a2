"""The suite's table: the study's row, ours over seeds, what needs no poster, significant differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from poster_ml.evaluation.compare import ComparisonTable, score_texts
from poster_ml.evaluation.stats import with_interval
from poster_ml.files import open_output_folder, write_text
from poster_ml.models.catalogue import FAMILIES
from poster_ml.pipeline.comparison import compare_runs
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
MEASURES = ("val_accuracy", "val_roc_auc", "val_log_loss", "val_brier")
COLUMNS = (
    "best_epoch_accuracy",
    *MEASURES,
    *(f"{name}_ci_{end}" for name in MEASURES for end in ("low", "high")),
    "val_combined_roc_auc",
    "val_majority_accuracy",
    "best_epoch",
    "epochs",
)
NOTE = """
{posters:,} validation posters. Mean over seeds; in brackets the {confidence:.0%} interval for other posters
and, from two seeds on, other seeds; ± the standard deviation between seeds. Train accuracy: while training,
with dropout and augmentation; val accuracy: at each run's own threshold. With year and genres: the
combination with the poster, cross-fitted; mean over seeds. Epochs: kept of trained."""
RANDOM_NOTE = """
Random weights: the backbone's ImageNet weights were not given, so the row says nothing of the study's
variant and is compared with nothing."""
RANDOM_MARK = " (random weights)"


@dataclass(frozen=True)
class SuiteTable:
    """All runs of a suite on the validation posters.

    Attributes:
        runs: one row per run with its numbers, in the order of the suite; training accuracy is that of the
            kept epoch; `random_weights` says that its backbone began without ImageNet's weights.
        scores: mean over the runs of a variant, with intervals; and the pairs.
        baselines: name -> ROC AUC, with its interval, of what needs no network.
    """

    runs: pd.DataFrame
    scores: ComparisonTable
    baselines: dict[str, str]

    @property
    def random(self) -> list[str]:
        """Variants whose backbone began with random weights: shown, and compared with nothing."""
        return list(self.runs["variant"][self.runs["random_weights"]].unique())

    def markdown(self) -> str:
        """Returns one row per variant as a Markdown table, and what needs no network below it."""
        by_name = {score["name"]: score for score in self.scores.settings}
        rows: list[dict[str, object]] = []
        for name, runs in self.runs.groupby("variant", sort=False):
            auc, accuracy = score_texts(by_name[str(name)])
            epochs = runs[["best_epoch", "epochs"]].astype(int).astype(str).agg(" of ".join, axis=1)
            together = runs["val_combined_roc_auc"].mean()
            rows.append(
                {
                    "variant": f"{name}{RANDOM_MARK if name in self.random else ''}",
                    "seeds": len(runs),
                    "study train / val": STUDY_ROWS.get(str(name), "-"),
                    "train accuracy": f"{runs['best_epoch_accuracy'].mean():.3f}",
                    "val accuracy": accuracy,
                    "val ROC AUC": auc,
                    "val ROC AUC with year and genres": "-" if pd.isna(together) else f"{together:.3f}",
                    "epochs": ", ".join(epochs.unique()),
                }
            )
        majority = f"{self.scores.majority_accuracy:.3f}"
        rows.append({"variant": "majority", "val accuracy": majority, "val ROC AUC": "0.500"})
        rows += [{"variant": name, "val ROC AUC": auc} for name, auc in self.baselines.items()]
        table = pd.DataFrame(rows, dtype=object).fillna("")
        cells = [[*table.columns], ["---"] * table.shape[1], *table.to_numpy().tolist()]
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in cells]
        lines.append(NOTE.format(posters=self.scores.posters, confidence=self.scores.confidence))
        return "\n".join([*lines, RANDOM_NOTE] if self.random else lines)

    def write(self, folder: Path) -> list[Path]:
        """Writes `suite.*` (md, csv, png) and, with pairs, `pairs.csv`, `pairs.png`, `comparison.txt`.

        Those of an older table that this one does not have are removed.

        Returns: what was written.
        Raises: OutputError where the folder holds other files.
        """
        open_output_folder(folder, "suite")
        for name in ("pairs.csv", "pairs.png", "comparison.txt"):
            (folder / name).unlink(missing_ok=True)
        texts = {"suite.md": self.markdown(), "suite.csv": self.runs.to_csv(index=False)}
        marks = dict.fromkeys(self.random, RANDOM_MARK)
        written = [self.scores.draw_settings(folder / "suite.png", "The suite on validation: ", marks)]
        if self.scores.pairs:
            texts["comparison.txt"] = self.scores.text()
            written += self.scores.write_pairs(folder)
        for name, text in texts.items():
            write_text(folder / name, text.rstrip("\n") + "\n")
            written.append(folder / name)
        return written


def build_table(records: Mapping[str, Sequence[RunRecord]], confidence: float) -> SuiteTable:
    """Fetches what the runs logged and compares the variants, each as the mean over its runs.

    Args:
        records: finished training runs by variant, at least one.
        confidence: of the intervals, 0.5..0.999.

    Raises: TrackingError for a run without validation predictions; EvaluationError where they don't fit.
    """
    runs = pd.DataFrame(_row(record) for own in records.values() for record in own)
    scores = compare_runs(records, confidence, set(runs["variant"][runs["random_weights"]]))
    metrics = next(iter(records.values()))[0].metrics  # the same for all runs
    known = {label: key for key, label in BASELINES.items() if key in metrics}
    return SuiteTable(runs, scores, {label: with_interval(metrics, key) for label, key in known.items()})


def _row(record: RunRecord) -> dict[str, Any]:
    backbone = FAMILIES[record.params["model.family"]].has_backbone
    about = {
        "name": record.name,
        "variant": record.variant,
        "seed": record.params["seed"],
        "random_weights": backbone and record.params["model.weights"] == "none",
        "run_id": record.run_id,
    }
    return about | {name: record.metrics.get(name, float("nan")) for name in COLUMNS}
