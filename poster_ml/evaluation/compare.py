"""Which of several settings is better: paired tests on the same posters, corrected for many comparisons.

A setting is a run, or several runs that differ in the seed alone; it counts as the mean over its
runs. The variance of that mean, and of a difference of two, has two parts that add up: posters
(DeLong's components, averaged over the runs, so that runs on the same posters stay paired) and
seeds (the spread between runs). A setting of one run knows nothing of seeds: train it again and the
figure moves by more than its interval says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.metrics import check_predictions
from poster_ml.evaluation.plots import ForestRow, draw_forest
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    Ranking,
    accuracy_interval,
    auc_difference,
    auc_interval,
    holm,
    mcnemar,
    p_text,
    paired_accuracy_difference,
)
from poster_ml.figures import FRESH, INK
from poster_ml.files import write_text

REQUIRED_COLUMNS = ("movie_id", "label", "probability")
MEASURES = {"auc": "ROC AUC", "accuracy": "accuracy"}


@dataclass(frozen=True)
class ComparisonTable:
    """All settings on their common posters, best ROC AUC first, and all pairs of them.

    settings: the rows of `runs.csv`: `name`, `runs`, `roc_auc` and `accuracy` with their ends, and
        `roc_auc_spread` and `accuracy_spread`, the standard deviation between runs (n - 1), NaN for one.
    pairs: the rows of `pairs.csv`: `first` minus `second` in `auc_difference` and, where it was asked,
        `accuracy_difference` with their ends, two-sided p-values (`auc_p`, `auc_p_holm`, ...) and which
        measures are `significant`. The p-values of all pairs and measures are one family: Holm's correction
        keeps the chance of naming any difference that is none below 1 - confidence.
    """

    posters: int
    left_out: int
    majority_accuracy: float
    confidence: float
    settings: list[dict[str, Any]]
    pairs: list[dict[str, Any]]

    def difference(self, first: str, second: str) -> Interval:
        """Returns ROC AUC of `first` minus `second`, which were compared; 0 for a setting and itself."""
        if first == second:
            return Interval(0.0, 0.0, 0.0)
        names = {first, second}
        row = next(row for row in self.pairs if {row["first"], row["second"]} == names)
        found = Interval.of(row, "auc_difference")
        return found if row["first"] == first else Interval(-found.estimate, -found.high, -found.low)

    def text(self) -> str:
        """Returns both tables and how many differences are significant; plain text for a terminal."""
        left_out = f" ({self.left_out} that not all scored are left out)" if self.left_out else ""
        settings = pd.DataFrame(
            [(one["name"], one["runs"], *score_texts(one)) for one in self.settings],
            columns=["setting", "seeds", "ROC AUC", "accuracy"],
        )
        lines = [
            f"{len(self.settings)} settings on the same {self.posters:,} posters{left_out}; "
            f"majority accuracy {self.majority_accuracy:.3f}; {self.confidence:.0%} intervals for "
            f"{_sources(self.settings)}; ± is the standard deviation between seeds",
            "",
            settings.to_string(index=False),
        ]
        if not self.pairs:
            return "\n".join(lines)
        measures = [name for name in MEASURES if f"{name}_p" in self.pairs[0]]
        table = pd.DataFrame({"pair": [f"{row['first']} - {row['second']}" for row in self.pairs]})
        for name in measures:
            differences = [Interval.of(row, f"{name}_difference").text(sign=True) for row in self.pairs]
            table[MEASURES[name]] = differences
            table[f"p of {MEASURES[name]}"] = [p_text(row[f"{name}_p_holm"]) for row in self.pairs]
        table["significant in"] = [row["significant"] or "nothing" for row in self.pairs]
        count = sum(bool(row["significant"]) for row in self.pairs)
        return "\n".join(
            [
                *lines,
                "",
                f"pairs, p-values corrected for {len(measures) * len(self.pairs)} comparisons (Holm)",
                table.to_string(index=False),
                "",
                f"{count} of {len(self.pairs)} pairs differ significantly at {self.confidence:.0%}.",
            ]
        )

    def write_pairs(self, folder: Path, name: str = "pairs") -> list[Path]:
        """Writes `<name>.csv` and `<name>.png`, where there are pairs; returns the files."""
        if not self.pairs:
            return []
        write_text(folder / f"{name}.csv", pd.DataFrame(self.pairs).to_csv(index=False))
        return [folder / f"{name}.csv", self.draw(folder / f"{name}.png")]

    def draw(self, path: Path) -> Path:
        """Draws a forest plot of the differences in ROC AUC; coloured where they are significant."""
        rows = [
            ForestRow(
                f"{row['first']} - {row['second']}",
                Interval.of(row, "auc_difference"),
                p_text(row["auc_p_holm"]),
                FRESH if row["auc_p_holm"] < 1.0 - self.confidence else INK,
            )
            for row in self.pairs
        ]
        return draw_forest(
            path,
            rows,
            label=f"difference in ROC AUC with {self.confidence:.0%} interval ({_sources(self.settings)})",
            title=f"{self.posters:,} posters; coloured: significant after Holm's correction",
            reference=0.0,
        )

    def draw_settings(self, path: Path, title: str = "", marks: Mapping[str, str] | None = None) -> Path:
        """Draws a forest plot of the settings' own ROC AUC, best first.

        Args:
            path: the PNG to write.
            title: before the number of posters.
            marks: what to add to a setting's name.
        """
        rows = [
            ForestRow(
                one["name"] + (marks or {}).get(one["name"], ""),
                Interval.of(one, "roc_auc"),
                f"accuracy {one['accuracy']:.3f}" + (f", {one['runs']} seeds" if one["runs"] > 1 else ""),
            )
            for one in self.settings
        ]
        label = f"ROC AUC with {self.confidence:.0%} interval (line: chance)"
        about = f"{self.posters:,} posters, majority accuracy {self.majority_accuracy:.3f}"
        return draw_forest(path, rows, label=label, title=f"{title}{about}", reference=0.5)


def score_texts(setting: Mapping[str, Any]) -> list[str]:
    """Returns ROC AUC and accuracy of a row of `settings` with intervals and, of several runs, spreads."""
    return [
        Interval.of(setting, name).text()
        + (f" ± {setting[f'{name}_spread']:.3f}" if setting["runs"] > 1 else "")
        for name in ("roc_auc", "accuracy")
    ]


def compare(
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    *,
    threshold: float | Mapping[str, Sequence[float | Floats]],
    confidence: float,
    accuracy: bool = False,
    not_compared: Collection[str] = (),
    folds: npt.ArrayLike | None = None,
) -> ComparisonTable:
    """Compares settings by the mean over their runs, on the posters that all runs scored.

    Args:
        predictions: by setting its runs, one or more, as of `align_predictions`; they differ in the seed.
        threshold: predicted Fresh from here on; one for all, or one per run, which may be (N,).
        confidence: of the intervals; 1 - confidence is the error rate that Holm's correction keeps.
        accuracy: test accuracy beside ROC AUC, by McNemar; every setting must have one run then.
        not_compared: settings that are scored, but stand in no pair.
        folds: (N,) of a cross-validation, see `Ranking.of`. Every run has scored all posters then,
            and what is (N,) stands in the order of movie_id.

    Returns: settings and pairs, best ROC AUC first; no pairs where there are not two to compare.

    Raises: EvaluationError as `align_predictions`.
    """
    labels, columns, left_out = align_predictions(
        {
            name if len(runs) == 1 else f"{name}, run {number}": run
            for name, runs in predictions.items()
            for number, run in enumerate(runs)
        }
    )
    scores, right = iter(columns.values()), {}
    rankings: dict[str, Ranking] = {}
    for name, runs in predictions.items():
        found = np.array([next(scores) for _ in runs])  # (R, N)
        limits = threshold[name] if isinstance(threshold, Mapping) else [threshold] * len(runs)
        rankings[name] = Ranking.of(labels, *found, folds=folds)
        bars = np.array([np.broadcast_to(limit, labels.shape) for limit in limits])
        right[name] = (found >= bars) == labels
    settings: list[dict[str, Any]] = [
        {"name": name, "runs": len(right[name])}
        | auc_interval(ranking, confidence).columns("roc_auc")
        | {"roc_auc_spread": _spread(ranking.aucs)}
        | accuracy_interval(right[name], confidence).columns("accuracy")
        | {"accuracy_spread": _spread(right[name].mean(axis=1))}
        for name, ranking in rankings.items()
    ]
    settings.sort(key=lambda one: (-one["roc_auc"], one["name"]))
    names = [one["name"] for one in settings if one["name"] not in not_compared]
    pairs = []
    for first, second in combinations(names, 2):
        interval, p_value = auc_difference(rankings[first], rankings[second], confidence)
        row: dict[str, Any] = {"first": first, "second": second, **interval.columns("auc_difference")}
        row |= {"auc_p": p_value, "auc_p_holm": np.nan}
        if accuracy:
            one, other = right[first], right[second]
            only = int((one & ~other).sum()), int((other & ~one).sum())
            interval = paired_accuracy_difference(*only, len(labels), confidence)
            row |= interval.columns("accuracy_difference")
            row |= {"accuracy_p": mcnemar(*only), "accuracy_p_holm": np.nan}
        pairs.append(row)
    share = float(labels.mean())
    return ComparisonTable(
        posters=len(labels),
        left_out=left_out,
        majority_accuracy=max(share, 1.0 - share),
        confidence=confidence,
        settings=settings,
        pairs=_corrected(pairs, confidence),
    )


def _corrected(pairs: list[dict[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """Adds the p-values of all pairs and measures corrected together, and what is significant."""
    asked = [(row, name) for row in pairs for name in MEASURES if f"{name}_p" in row]
    corrected = holm([row[f"{name}_p"] for row, name in asked]).tolist()
    for (row, name), p_holm in zip(asked, corrected, strict=True):
        row[f"{name}_p_holm"] = p_holm
    for row in pairs:
        below = [text for name, text in MEASURES.items() if row.get(f"{name}_p_holm", 1.0) < 1.0 - confidence]
        row["significant"] = " and ".join(below)
    return pairs


def _sources(settings: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals speak of."""
    several = [one["runs"] > 1 for one in settings]
    if all(several):
        return "other posters and seeds"
    return "other posters, and seeds where there are several" if any(several) else "other posters only"


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def align_predictions(predictions: Mapping[str, pd.DataFrame]) -> tuple[Integers, dict[str, Floats], int]:
    """Brings the predictions of several runs into one order of posters.

    Args:
        predictions: at least one run by name, each with movie_id (unique), label (0/1), probability.

    Returns: labels (N,) of the posters that all runs scored, by movie_id; probabilities (N,) per
        run; how many posters were left out because some run lacks them.

    Raises: EvaluationError for missing columns, a movie_id twice, no common poster, or a poster
        whose label differs between runs.
    """
    for name, table in predictions.items():
        lacking = [column for column in REQUIRED_COLUMNS if column not in table]
        if lacking:
            raise EvaluationError(
                f"the predictions of {name} lack {', '.join(lacking)}; evaluate the run again"
            )
        twice = table["movie_id"][table["movie_id"].duplicated()]
        if len(twice):
            raise EvaluationError(
                f"the predictions of {name} have {twice.iloc[0]} twice; evaluate the run again"
            )
    by_poster = {name: table.set_index("movie_id") for name, table in predictions.items()}
    # Sorted: nothing that is drawn by chance may depend on the order of a file.
    common = pd.concat(by_poster, axis=1, join="inner").sort_index()
    if common.empty:
        raise EvaluationError(
            f"the runs {', '.join(predictions)} have no poster in common; "
            "compare runs evaluated on the same split of the same dataset"
        )
    first = next(iter(predictions))
    labels = common[(first, "label")].to_numpy()
    columns: dict[str, Floats] = {}
    for name in predictions:
        differing = common.index[common[(name, "label")] != labels]
        if len(differing):
            raise EvaluationError(
                f"{len(differing)} posters have other labels in {name} than in {first}, "
                f"first {differing[0]}; compare runs on the same dataset"
            )
        checked, columns[name] = check_predictions(labels, common[(name, "probability")].to_numpy(float))
    everything = set().union(*(table.index for table in by_poster.values()))
    return checked, columns, len(everything) - len(common)
