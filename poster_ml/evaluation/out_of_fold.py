"""A cross-validation: the scores that every poster got from a network that had not seen it, joined.

Posters are ranked within their fold (`stats.Ranking.of`). The intervals speak of other posters and, from two
seeds on, of other seeds; `benchmarks/fold_coverage.py` measures how often they hold the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.baselines import Combination, poster_gain
from poster_ml.evaluation.compare import ComparisonTable, compare, score_texts
from poster_ml.evaluation.slices import compute_slices
from poster_ml.evaluation.stats import Interval, Ranking, auc_interval, columns_of, mean_interval
from poster_ml.files import open_output_folder, write_text

DESIGN = "combination fitted on the validation part of each fold, scored on the posters held out"
HEADER = ("variant", "seeds", "ROC AUC", "accuracy", "with year + genres", "gain over year + genres")
# What `poster_gain` measures, by the names of the table.
GAIN = {
    "year_genre_poster_roc_auc": "combined_roc_auc",
    "poster_beyond_metadata_auc_gain": "gain",
    "poster_over_metadata": "poster_over_metadata",
}
FEW_POSTERS = 2000  # below which the intervals cover too little: benchmarks/fold_coverage.py
SLICES = "slices_{name}.csv"
SCORES = "scores_{name}_{number}.csv"


@dataclass(frozen=True)
class CrossValidation:
    """All variants on all posters.

    scores: ROC AUC and accuracy of the variants, and all pairs.
    rows: by variant, each with its interval: `brier`, `log_loss` and, where years or genres are
        known, `metadata_roc_auc`, `combined_roc_auc`, `gain`, `poster_over_metadata`.
    slices: by variant, as of `compute_slices`, of the mean probability over the seeds.
    """

    folds: int
    scores: ComparisonTable
    rows: dict[str, dict[str, float]]
    slices: dict[str, pd.DataFrame]

    def metrics(self) -> dict[str, float]:
        """Returns every number by "VARIANT.NAME", as logged."""
        found: dict[str, float] = {}
        for setting in self.scores.settings:
            own = {key: value for key, value in setting.items() if key not in ("name", "runs")}
            own |= self.rows[setting["name"]]
            # One seed has no spread.
            known = {key: value for key, value in own.items() if np.isfinite(value)}
            found |= {f"{setting['name']}.{key}": value for key, value in known.items()}
        return found

    def markdown(self) -> str:
        """Returns one row per variant, best first, and in a sentence for each what the poster adds."""
        table: list[Sequence[Any]] = [HEADER, ["---"] * len(HEADER)]
        sentences = []
        for setting in self.scores.settings:
            name, row = setting["name"], self.rows[setting["name"]]
            cells = [name, setting["runs"], *score_texts(setting)]
            if "gain" not in row:
                table.append([*cells, "-", "-"])
                continue
            gain, together = Interval.of(row, "gain"), Interval.of(row, "combined_roc_auc")
            table.append([*cells, together.text(), gain.text(sign=True)])
            verdict = "adds to" if gain.low > 0 else "is not shown to add to"
            verdict = "takes from" if gain.high < 0 else verdict
            sentences.append(
                f"With {name}, the poster {verdict} the ROC AUC of year + genres, "
                f"{Interval.of(row, 'metadata_roc_auc').text()}: {gain.text(sign=True)}."
            )
        note = (
            f"{self.scores.posters:,} posters, each scored by networks that had not seen it: "
            f"{self.folds} folds. In brackets the {self.scores.confidence:.0%} interval; ± the standard "
            "deviation between seeds."
        )
        if self.scores.posters < FEW_POSTERS:
            note += (
                f" With fewer than {FEW_POSTERS:,} posters these intervals are too sure: at 500 they hold "
                "the truth in 85 to 90 %, not 95 %."
            )
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in table]
        return "\n".join([*lines, "", note, *sentences])

    def write(self, folder: Path, tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[Path]:
        """Writes tables, figures and the joined scores; returns what was written.

        Raises: OutputError where the folder holds other files.
        """
        open_output_folder(folder, "folds")
        settings = pd.DataFrame(self.scores.settings).set_index("name")
        texts = {"folds.md": self.markdown(), "comparison.txt": self.scores.text()}
        texts["folds.csv"] = settings.join(pd.DataFrame.from_dict(self.rows, orient="index")).to_csv()
        for name, runs in tables.items():
            texts[SLICES.format(name=name)] = self.slices[name].to_csv(index=False, float_format="%.6f")
            for number, run in enumerate(runs, start=1):
                texts[SCORES.format(name=name, number=number)] = run.to_csv(index=False, float_format="%.9g")
        written = [self.scores.draw_settings(folder / "folds.png", "Out of fold: ")]
        written += self.scores.write_pairs(folder)
        for name, text in texts.items():
            write_text(folder / name, text.rstrip("\n") + "\n")
            written.append(folder / name)
        return written


def join_folds(folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Joins the held-out posters of all folds of one run, by movie_id.

    Raises: EvaluationError where a poster was held out twice.
    """
    joined = pd.concat(folds).sort_values("movie_id", ignore_index=True)
    twice = joined["movie_id"][joined["movie_id"].duplicated()]
    if len(twice):
        raise EvaluationError(
            f"poster {twice.iloc[0]} is held out in two folds: these are not folds of one dataset"
        )
    return joined


def cross_validate(tables: Mapping[str, Sequence[pd.DataFrame]], *, confidence: float) -> CrossValidation:
    """Measures variants on all posters.

    Args:
        tables: by variant its runs, one per seed, as of `join_folds`: movie_id, label, fold,
            probability, threshold, probability_metadata, probability_combined; year, genres, width,
            height for the slices. All have the same posters in the same folds.
        confidence: of the intervals, between 0 and 1.

    Raises: EvaluationError where posters or folds differ.
    """
    every = [run for runs in tables.values() for run in runs]
    first = every[0]
    labels, folds = first["label"].to_numpy(np.int64), first["fold"].to_numpy()
    for run in every:
        if not run[["movie_id", "label", "fold"]].equals(first[["movie_id", "label", "fold"]]):
            raise EvaluationError(
                "the runs have other posters, labels or folds: run the suite with the same --folds"
            )
    scores = compare(
        tables,
        threshold={name: [run["threshold"].to_numpy() for run in runs] for name, runs in tables.items()},
        confidence=confidence,
        folds=folds,
    )
    rows, slices = {}, {}
    for name, runs in tables.items():
        poster, metadata, combined = (
            np.stack([run[column].to_numpy(np.float64) for run in runs])  # (R, N)
            for column in ("probability", "probability_metadata", "probability_combined")
        )
        losses = {
            "brier": (poster - labels) ** 2,
            "log_loss": -np.log(np.where(labels == 1, poster, 1.0 - poster).clip(1e-15)),
        }
        found = {
            loss: mean_interval(values.mean(axis=0), confidence, (0.0, np.inf))[0]
            for loss, values in losses.items()
        }
        combination = Combination(metadata, combined, DESIGN, optimistic=False)
        if gain := poster_gain(labels, poster, combination, confidence, folds):
            known = combination.known
            alone = Ranking.of(labels[known], *metadata[:, known], folds=folds[known])
            found["metadata_roc_auc"] = auc_interval(alone, confidence)
            found |= {own: gain[name] for name, own in GAIN.items()}
        rows[name] = columns_of(found)
        thresholds = np.mean([run["threshold"] for run in runs], axis=0)
        slices[name] = compute_slices(first, poster.mean(axis=0), threshold=thresholds, confidence=confidence)
    return CrossValidation(len(np.unique(folds)), scores, rows, slices)
