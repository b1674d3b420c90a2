"""Which of several models is really better: paired tests on the same posters, corrected for many comparisons.

ROC AUC is compared by a paired, stratified bootstrap (the interval) and DeLong's paired test (the p-value);
accuracy by McNemar's test in its mid-p form (Fagerland et al. 2013, doi:10.1186/1471-2288-13-91). The
p-values of all pairs and both measures are corrected together by Holm's method: the chance of naming even one
difference real that is none stays below 1 - confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.alignment import align_predictions
from poster_ml.evaluation.forest import ForestRow, draw_forest
from poster_ml.evaluation.metrics import Scorer
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    bootstrap_weights,
    delong_difference,
    delong_interval,
    holm,
    mcnemar,
    p_text,
    paired_accuracy_difference,
    percentile_interval,
    wilson_interval,
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunScore:
    """One run on the common posters."""

    name: str
    variant: str
    roc_auc: Interval
    accuracy: Interval


@dataclass(frozen=True)
class VariantSpread:
    """Several runs of one variant: mean and standard deviation (n - 1); NaN deviation for one run."""

    variant: str
    runs: int
    roc_auc_mean: float
    roc_auc_deviation: float
    accuracy_mean: float
    accuracy_deviation: float


@dataclass(frozen=True)
class PairComparison:
    """`first` minus `second`; p-values two-sided, `*_holm` corrected over all pairs and both measures."""

    first: str
    second: str
    auc_difference: Interval
    auc_p: float
    auc_p_holm: float
    accuracy_difference: Interval
    only_first_right: int
    only_second_right: int
    accuracy_p: float
    accuracy_p_holm: float


@dataclass(frozen=True)
class ComparisonTable:
    """All runs on their common posters, and all pairs of them."""

    posters: int
    left_out: int
    majority_accuracy: float
    confidence: float
    runs: list[RunScore]
    spreads: list[VariantSpread]
    pairs: list[PairComparison]

    def frame(self) -> pandas.DataFrame:
        """Returns one row per pair, with every number of PairComparison as its own column."""
        import pandas

        return pandas.DataFrame(
            [
                {
                    "first": pair.first,
                    "second": pair.second,
                    **_columns("auc_difference", pair.auc_difference),
                    "auc_p": pair.auc_p,
                    "auc_p_holm": pair.auc_p_holm,
                    **_columns("accuracy_difference", pair.accuracy_difference),
                    "only_first_right": pair.only_first_right,
                    "only_second_right": pair.only_second_right,
                    "accuracy_p": pair.accuracy_p,
                    "accuracy_p_holm": pair.accuracy_p_holm,
                }
                for pair in self.pairs
            ]
        )

    def runs_frame(self) -> pandas.DataFrame:
        """Returns one row per run, best ROC AUC first."""
        import pandas

        return pandas.DataFrame(
            [
                {
                    "run": run.name,
                    "variant": run.variant,
                    **_columns("roc_auc", run.roc_auc),
                    **_columns("accuracy", run.accuracy),
                }
                for run in self.runs
            ]
        )

    def real(self, pair: PairComparison) -> list[str]:
        """Says which measures of a pair really differ: of "ROC AUC" and "accuracy", none to both."""
        limit = 1.0 - self.confidence
        checked = (("ROC AUC", pair.auc_p_holm), ("accuracy", pair.accuracy_p_holm))
        return [name for name, p_value in checked if p_value < limit]

    def text(self) -> str:
        """Returns the tables and, in words, which differences are real; plain text for a terminal."""
        width = max(len(run.name) for run in self.runs)
        left_out = f" ({self.left_out} that not all runs scored are left out)" if self.left_out else ""
        lines = [
            f"{len(self.runs)} runs on the same {self.posters:,} posters{left_out}; "
            f"majority accuracy {self.majority_accuracy:.3f}; {self.confidence:.0%} intervals",
            "",
            f"{'run':{width}}  {'ROC AUC':24}  accuracy",
        ]
        lines += [f"{run.name:{width}}  {run.roc_auc.text():24}  {run.accuracy.text()}" for run in self.runs]
        repeated = [spread for spread in self.spreads if spread.runs > 1]
        if repeated:
            lines += ["", "variants, mean ± standard deviation over their runs"]
            lines += [
                f"{spread.variant}: {spread.runs} runs, ROC AUC {spread.roc_auc_mean:.3f} "
                f"± {spread.roc_auc_deviation:.3f}, accuracy {spread.accuracy_mean:.3f} "
                f"± {spread.accuracy_deviation:.3f}"
                for spread in repeated
            ]
        lines += ["", f"pairs, p-values corrected for {2 * len(self.pairs)} comparisons (Holm)"]
        for pair in self.pairs:
            real = self.real(pair)
            verdict = f"real in {' and '.join(real)}" if real else "not told apart"
            lines.append(
                f"{pair.first} - {pair.second}: ROC AUC {pair.auc_difference.text(sign=True)} "
                f"{p_text(pair.auc_p_holm)}, accuracy {pair.accuracy_difference.text(sign=True)} "
                f"{p_text(pair.accuracy_p_holm)}: {verdict}"
            )
        count = sum(bool(self.real(pair)) for pair in self.pairs)
        lines += ["", f"{count} of {len(self.pairs)} pairs really differ."]
        return "\n".join(lines)

    def draw(self, path: Path) -> Path:
        """Draws a forest plot of the pairs' AUC differences; coloured where the difference is real."""
        rows = [
            ForestRow(
                f"{pair.first} - {pair.second}",
                pair.auc_difference,
                p_text(pair.auc_p_holm),
                "ROC AUC" in self.real(pair),
            )
            for pair in self.pairs
        ]
        label = f"difference in ROC AUC with {self.confidence:.0%} paired interval"
        title = f"{self.posters:,} posters; coloured: real after Holm's correction"
        return draw_forest(path, rows, label=label, title=title, reference=0.0)

    def draw_runs(self, path: Path) -> Path:
        """Draws a forest plot of the runs' own ROC AUC, best first."""
        rows = [
            ForestRow(run.name, run.roc_auc, f"accuracy {run.accuracy.estimate:.3f}") for run in self.runs
        ]
        label = f"ROC AUC with {self.confidence:.0%} interval (line: chance)"
        title = f"{self.posters:,} posters, majority accuracy {self.majority_accuracy:.3f}"
        return draw_forest(path, rows, label=label, title=title, reference=0.5)


def compare_runs(
    predictions: Mapping[str, pandas.DataFrame],
    *,
    threshold: float | Mapping[str, float],
    repeats: int,
    confidence: float,
    seed: int,
    variants: Mapping[str, str] | None = None,
) -> ComparisonTable:
    """Compares runs on the posters that all of them scored.

    Args:
        predictions: at least two runs by name, each with movie_id (unique), label (0/1), probability.
        threshold: predicted Fresh from here on; one for all or one per run.
        repeats: bootstrap resamples of the AUC difference.
        confidence: of the intervals; 1 - confidence is the error rate that Holm's correction keeps.
        seed: int >= 0.
        variants: the variant of each run; runs that share one are also shown as mean and spread.

    Returns: runs ordered by ROC AUC, best first; pairs in that order.

    Raises: EvaluationError for fewer than two runs, missing columns, a movie_id twice, no common poster,
        or a poster whose label differs between runs.
    """
    if len(predictions) < 2:
        raise EvaluationError(
            f"a comparison needs at least two runs, got {len(predictions)}; name another one"
        )
    names = list(predictions)
    labels, columns, left_out = align_predictions(predictions)
    thresholds = threshold if isinstance(threshold, Mapping) else dict.fromkeys(names, threshold)
    named_variants = variants or {name: name for name in names}
    runs = []
    right: dict[str, npt.NDArray[np.bool_]] = {}
    for name in names:
        right[name] = (columns[name] >= thresholds[name]) == labels
        runs.append(
            RunScore(
                name=name,
                variant=named_variants[name],
                roc_auc=delong_interval(labels, columns[name], confidence),
                accuracy=wilson_interval(int(right[name].sum()), len(labels), confidence),
            )
        )
    runs.sort(key=lambda run: (-run.roc_auc.estimate, run.name))
    pairs = _compare_pairs([run.name for run in runs], labels, columns, right, repeats, confidence, seed)
    share = float(labels.mean())
    return ComparisonTable(
        posters=len(labels),
        left_out=left_out,
        majority_accuracy=max(share, 1.0 - share),
        confidence=confidence,
        runs=runs,
        spreads=_spreads(runs),
        pairs=pairs,
    )


def _compare_pairs(
    names: Sequence[str],
    labels: Integers,
    columns: Mapping[str, Floats],
    right: Mapping[str, npt.NDArray[np.bool_]],
    repeats: int,
    confidence: float,
    seed: int,
) -> list[PairComparison]:
    draws = _auc_draws(names, labels, columns, repeats, seed)
    found = []
    for first, second in combinations(names, 2):
        delong, auc_p = delong_difference(labels, columns[first], columns[second], confidence)
        only_first = int((right[first] & ~right[second]).sum())
        only_second = int((right[second] & ~right[first]).sum())
        accuracy_p = mcnemar(only_first, only_second)
        found.append(
            PairComparison(
                first=first,
                second=second,
                auc_difference=percentile_interval(delong.estimate, draws[first] - draws[second], confidence),
                auc_p=auc_p,
                auc_p_holm=auc_p,
                accuracy_difference=paired_accuracy_difference(
                    only_first, only_second, len(labels), confidence
                ),
                only_first_right=only_first,
                only_second_right=only_second,
                accuracy_p=accuracy_p,
                accuracy_p_holm=accuracy_p,
            )
        )
    corrected = holm([pair.auc_p for pair in found] + [pair.accuracy_p for pair in found])
    return [
        replace(pair, auc_p_holm=auc_p, accuracy_p_holm=accuracy_p)
        for pair, auc_p, accuracy_p in zip(
            found, corrected[: len(found)], corrected[len(found) :], strict=True
        )
    ]


def _auc_draws(
    names: Sequence[str], labels: Integers, columns: Mapping[str, Floats], repeats: int, seed: int
) -> dict[str, Floats]:
    """Returns (repeats,) AUCs per run, every run on the same resamples: that is what makes them paired."""
    scorers = {name: Scorer.of(labels, columns[name], 0.5) for name in names}
    chunks: dict[str, list[Floats]] = {name: [] for name in names}
    for weights in bootstrap_weights(labels, repeats, seed):
        for name in names:
            chunks[name].append(scorers[name].auc(weights))
    return {name: np.concatenate(parts) for name, parts in chunks.items()}


def _spreads(runs: Sequence[RunScore]) -> list[VariantSpread]:
    spreads = []
    for variant in dict.fromkeys(run.variant for run in runs):
        members = [run for run in runs if run.variant == variant]
        aucs = np.array([run.roc_auc.estimate for run in members])
        accuracies = np.array([run.accuracy.estimate for run in members])
        several = len(members) > 1
        spreads.append(
            VariantSpread(
                variant=variant,
                runs=len(members),
                roc_auc_mean=float(aucs.mean()),
                roc_auc_deviation=float(aucs.std(ddof=1)) if several else float("nan"),
                accuracy_mean=float(accuracies.mean()),
                accuracy_deviation=float(accuracies.std(ddof=1)) if several else float("nan"),
            )
        )
    return spreads


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_ci_low": interval.low, f"{name}_ci_high": interval.high}
