"""Which of several settings is better: paired tests on the same posters, corrected for many comparisons.

A setting is a run, or several runs that differ in the seed alone; it counts as the mean over its runs. The
variance of that mean, and of a difference of two, has two parts that add up: posters (DeLong's components,
averaged over the runs, so that runs on the same posters stay paired) and seeds (the spread between runs). A
setting of one run knows nothing of seeds: train it again and the figure moves by more than its interval says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from poster_ml.errors import EvaluationError
from poster_ml.evaluation.alignment import align_predictions
from poster_ml.evaluation.forest import ForestRow, draw_forest
from poster_ml.evaluation.stats import (
    Floats,
    Integers,
    Interval,
    accuracy_interval,
    auc_difference,
    auc_interval,
    check_confidence,
    holm,
    mcnemar,
    p_text,
    paired_accuracy_difference,
    structural_components,
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class SettingScore:
    """One setting over its runs; `*_spread` is the standard deviation between runs (n - 1), NaN for one."""

    name: str
    runs: int
    roc_auc: Interval
    roc_auc_spread: float
    accuracy: Interval
    accuracy_spread: float

    def texts(self) -> tuple[str, str]:
        """Returns ROC AUC and accuracy with their intervals and, of several runs, their spreads."""
        found = []
        for interval, spread in ((self.roc_auc, self.roc_auc_spread), (self.accuracy, self.accuracy_spread)):
            found.append(interval.text() + (f" ± {spread:.3f}" if np.isfinite(spread) else ""))
        return found[0], found[1]


@dataclass(frozen=True)
class Difference:
    """One measure of a pair; p-values two-sided, `p_holm` corrected over the table's family."""

    interval: Interval
    p: float
    p_holm: float
    significant: bool = False

    def text(self) -> str:
        """Returns for example "+0.052 (+0.030 to +0.075) p<.001"."""
        return f"{self.interval.text(sign=True)} {p_text(self.p_holm)}"


@dataclass(frozen=True)
class Pair:
    """`first` minus `second`; `accuracy` is None where the table asks for ROC AUC alone."""

    first: str
    second: str
    roc_auc: Difference
    accuracy: Difference | None = None

    def significant(self) -> list[str]:
        """Says which measures differ significantly: of "ROC AUC" and "accuracy", none to both."""
        measures = {"ROC AUC": self.roc_auc, "accuracy": self.accuracy}
        return [name for name, one in measures.items() if one is not None and one.significant]


@dataclass(frozen=True)
class ComparisonTable:
    """All settings on their common posters, best ROC AUC first, and all pairs of them.

    The p-values of all pairs, and of both measures where accuracy is asked too, are one family: Holm's
    correction keeps the chance of naming any difference that is none below 1 - confidence.
    """

    posters: int
    left_out: int
    majority_accuracy: float
    confidence: float
    settings: list[SettingScore]
    pairs: list[Pair]

    def difference(self, first: str, second: str) -> Interval:
        """Returns ROC AUC of `first` minus `second`; 0 without width for a setting and itself.

        Raises: EvaluationError where the two were not compared.
        """
        for pair in self.pairs:
            found = pair.roc_auc.interval
            if (pair.first, pair.second) == (first, second):
                return found
            if (pair.first, pair.second) == (second, first):
                return Interval(-found.estimate, -found.high, -found.low)
        if first == second:
            return Interval(0.0, 0.0, 0.0)
        raise EvaluationError(f"{first} and {second} were not compared")

    def frame(self) -> pandas.DataFrame:
        """Returns one row per pair, every number in a column of its own."""
        import pandas

        rows = []
        for pair in self.pairs:
            row: dict[str, object] = {"first": pair.first, "second": pair.second}
            for name, one in (("auc", pair.roc_auc), ("accuracy", pair.accuracy)):
                if one is not None:
                    row |= one.interval.columns(f"{name}_difference")
                    row |= {f"{name}_p": one.p, f"{name}_p_holm": one.p_holm}
            rows.append({**row, "significant": " and ".join(pair.significant())})
        return pandas.DataFrame(rows)

    def settings_frame(self) -> pandas.DataFrame:
        """Returns one row per setting, best ROC AUC first."""
        import pandas

        return pandas.DataFrame(
            {
                "name": one.name,
                "runs": one.runs,
                **one.roc_auc.columns("roc_auc"),
                "roc_auc_spread": one.roc_auc_spread,
                **one.accuracy.columns("accuracy"),
                "accuracy_spread": one.accuracy_spread,
            }
            for one in self.settings
        )

    def text(self) -> str:
        """Returns both tables and, in words, which differences are significant; plain text for a terminal."""
        width = max(len(one.name) for one in self.settings)
        left_out = f" ({self.left_out} that not all scored are left out)" if self.left_out else ""
        lines = [
            f"{len(self.settings)} settings on the same {self.posters:,} posters{left_out}; "
            f"majority accuracy {self.majority_accuracy:.3f}; {self.confidence:.0%} intervals for "
            f"{_sources(self.settings)}; ± is the standard deviation between seeds",
            "",
            f"{'setting':{width}}  {'seeds':5}  {'ROC AUC':32}  accuracy",
        ]
        for one in self.settings:
            auc, accuracy = one.texts()
            lines.append(f"{one.name:{width}}  {one.runs:5}  {auc:32}  {accuracy}")
        if self.pairs:
            lines += ["", *self._pair_lines()]
        return "\n".join(lines)

    def _pair_lines(self) -> list[str]:
        measures = 1 if self.pairs[0].accuracy is None else 2
        lines = [f"pairs, p-values corrected for {measures * len(self.pairs)} comparisons (Holm)"]
        for pair in self.pairs:
            accuracy = f", accuracy {pair.accuracy.text()}" if pair.accuracy else ""
            named = pair.significant()
            verdict = f"significant in {' and '.join(named)}" if named else "not told apart"
            lines.append(f"{pair.first} - {pair.second}: ROC AUC {pair.roc_auc.text()}{accuracy}: {verdict}")
        count = sum(bool(pair.significant()) for pair in self.pairs)
        lines += ["", f"{count} of {len(self.pairs)} pairs differ significantly at {self.confidence:.0%}."]
        once = [one.name for one in self._compared() if one.runs == 1]
        if once:
            lines.append(f"one run only, so nothing is known of other seeds: {', '.join(once)}")
        return lines

    def _compared(self) -> list[SettingScore]:
        names = {name for pair in self.pairs for name in (pair.first, pair.second)}
        return [one for one in self.settings if one.name in names]

    def draw(self, path: Path) -> Path:
        """Draws a forest plot of the differences in ROC AUC; coloured where they are significant."""
        rows = [
            ForestRow(
                f"{pair.first} - {pair.second}",
                pair.roc_auc.interval,
                p_text(pair.roc_auc.p_holm),
                pair.roc_auc.significant,
            )
            for pair in self.pairs
        ]
        sources = _sources(self._compared())
        return draw_forest(
            path,
            rows,
            label=f"difference in ROC AUC with {self.confidence:.0%} interval ({sources})",
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
                one.name + (marks or {}).get(one.name, ""),
                one.roc_auc,
                f"accuracy {one.accuracy.estimate:.3f}" + (f", {one.runs} seeds" if one.runs > 1 else ""),
            )
            for one in self.settings
        ]
        label = f"ROC AUC with {self.confidence:.0%} interval (line: chance)"
        about = f"{self.posters:,} posters, majority accuracy {self.majority_accuracy:.3f}"
        return draw_forest(path, rows, label=label, title=f"{title}{about}", reference=0.5)


@dataclass(frozen=True)
class _Parts:
    """What a setting is made of: per run its AUC and accuracy; per poster the mean over runs."""

    aucs: Floats  # (R,)
    below: Floats  # (P,) mean share of Rotten posters below each Fresh one
    above: Floats  # (Q,) mean share of Fresh posters above each Rotten one
    accuracies: Floats  # (R,)
    right: Floats  # (N,) share of runs that are right


def compare(
    predictions: Mapping[str, Sequence[pandas.DataFrame]],
    *,
    threshold: float | Mapping[str, Sequence[float]],
    confidence: float,
    accuracy: bool = False,
    not_compared: Collection[str] = (),
) -> ComparisonTable:
    """Compares settings by the mean over their runs, on the posters that all runs scored.

    Args:
        predictions: by setting its runs, one per seed, each with movie_id (unique), label (0/1), probability.
        threshold: predicted Fresh from here on; one for all, or one per run.
        confidence: of the intervals; 1 - confidence is the error rate that Holm's correction keeps.
        accuracy: test accuracy beside ROC AUC, by McNemar; every setting must have one run then.
        not_compared: settings that are scored, but stand in no pair.

    Returns: settings and pairs, best ROC AUC first; no pairs where there are not two to compare.

    Raises: EvaluationError for no runs, missing columns, a movie_id twice, no common poster, or a poster
        whose label differs between runs; ValueError where accuracy cannot be tested.
    """
    check_confidence(confidence)
    empty = [name for name, runs in predictions.items() if not runs]
    if empty:
        raise EvaluationError(f"no run of {', '.join(empty)}: leave it out, or train it")
    if accuracy and any(len(runs) > 1 for runs in predictions.values()):
        raise ValueError("accuracy is tested between single runs, got several runs of a setting")
    labels, columns, left_out = align_predictions(
        {
            name if len(runs) == 1 else f"{name}, run {number}": run
            for name, runs in predictions.items()
            for number, run in enumerate(runs)
        }
    )
    scores = iter(columns.values())
    parts = {}
    for name, runs in predictions.items():
        limits = threshold[name] if isinstance(threshold, Mapping) else [threshold] * len(runs)
        parts[name] = _parts(labels, [next(scores) for _ in runs], limits)
    settings = [_score(name, one, confidence) for name, one in parts.items()]
    settings.sort(key=lambda one: (-one.roc_auc.estimate, one.name))
    names = [one.name for one in settings if one.name not in not_compared]
    pairs = [_pair(first, second, parts, confidence, accuracy) for first, second in combinations(names, 2)]
    share = float(labels.mean())
    return ComparisonTable(
        posters=len(labels),
        left_out=left_out,
        majority_accuracy=max(share, 1.0 - share),
        confidence=confidence,
        settings=settings,
        pairs=_corrected(pairs, confidence),
    )


def _parts(labels: Integers, scores: Sequence[Floats], limits: Sequence[float]) -> _Parts:
    components = [structural_components(labels, column) for column in scores]
    right = np.array(
        [(column >= limit) == labels for column, limit in zip(scores, limits, strict=True)], dtype="float64"
    )
    return _Parts(
        aucs=np.array([auc for auc, _, _ in components]),
        below=np.mean([below for _, below, _ in components], axis=0),
        above=np.mean([above for _, _, above in components], axis=0),
        accuracies=right.mean(axis=1),
        right=right.mean(axis=0),
    )


def _score(name: str, one: _Parts, confidence: float) -> SettingScore:
    return SettingScore(
        name=name,
        runs=len(one.aucs),
        roc_auc=auc_interval(one.aucs, one.below, one.above, confidence),
        roc_auc_spread=_spread(one.aucs),
        accuracy=accuracy_interval(one.right, one.accuracies, confidence),
        accuracy_spread=_spread(one.accuracies),
    )


def _pair(first: str, second: str, parts: Mapping[str, _Parts], confidence: float, accuracy: bool) -> Pair:
    one, other = parts[first], parts[second]
    interval, p_value = auc_difference(
        (one.aucs, one.below, one.above), (other.aucs, other.below, other.above), confidence
    )
    found = Pair(first, second, Difference(interval, p_value, p_value))
    if not accuracy:
        return found
    only_first = int((one.right > other.right).sum())
    only_second = int((other.right > one.right).sum())
    interval = paired_accuracy_difference(only_first, only_second, len(one.right), confidence)
    p_value = mcnemar(only_first, only_second)
    return replace(found, accuracy=Difference(interval, p_value, p_value))


def _corrected(pairs: Sequence[Pair], confidence: float) -> list[Pair]:
    """Corrects the p-values of all pairs and measures together."""
    measures = ("roc_auc", "accuracy")
    asked = [(row, name) for name in measures for row, pair in enumerate(pairs) if getattr(pair, name)]
    found = list(pairs)
    corrected = holm([getattr(pairs[row], name).p for row, name in asked])
    for (row, name), p_holm in zip(asked, corrected.tolist(), strict=True):
        one = replace(getattr(pairs[row], name), p_holm=p_holm, significant=p_holm < 1.0 - confidence)
        found[row] = replace(found[row], **{name: one})
    return found


def _sources(settings: Sequence[SettingScore]) -> str:
    """What the intervals speak of."""
    several = [one.runs > 1 for one in settings]
    if all(several):
        return "other posters and seeds"
    return "other posters, and seeds where there are several" if any(several) else "other posters only"


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
