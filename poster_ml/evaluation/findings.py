"""What the numbers say, as sentences, table and headlines: written from the numbers alone."""

from __future__ import annotations

from poster_ml.evaluation.report_files import SCORED, EvaluationResult
from poster_ml.evaluation.stats import Interval

METRIC_LABELS = {
    "accuracy": "Accuracy",
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "Balanced accuracy",
    "average_precision": "Average precision",
    "f1": "F1 of Fresh",
    "log_loss": "Log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece": "Calibration error, ECE (lower is better)",
}
SCORE_COLUMNS = ("What is known", "ROC AUC", "Accuracy", "Log loss", "Brier score", "ECE")
BASELINE_NAMES = {
    "year": "Year alone",
    "genre": "Genres alone",
    "year_genre": "Year + genres",
    "colour": "Colour histogram",
}


def finding_sentences(result: EvaluationResult) -> list[str]:
    """Says in plain words what an evaluation found.

    Returns: one sentence each on: better than chance, better than always naming the majority,
        better or worse than year + genres, what the poster adds to them, calibration, and the worst
        slices; those that could not be measured are left out.
    """
    auc, accuracy, error = (result.intervals[name] for name in ("roc_auc", "accuracy", "ece"))
    interval = f"the {result.confidence:.0%} interval of ROC AUC, {auc.low:.3f} to {auc.high:.3f},"
    chance = (
        "The poster tells something about the reviews: of one Fresh and one Rotten poster the model puts "
        f"the Fresh one first in {auc.estimate:.0%} of the cases, and {interval} lies above chance.",
        f"The model ranks posters worse than chance: {interval} lies below .5; look for swapped labels.",
        f"It is not shown that the model does better than chance: {interval} includes .5.",
    )
    naming_majority = result.references.majority_accuracy
    start, majority = f"Its accuracy of {accuracy.estimate:.3f}", f"{naming_majority:.3f}"
    naming = (
        f"{start} is above the {majority} of always naming the majority, interval and all.",
        f"{start} is below the {majority} that always naming the majority reaches.",
        f"{start} cannot be told apart from the {majority} of always naming the majority.",
    )
    findings = [chance[_side(auc, 0.5)], naming[_side(accuracy, naming_majority)]]
    if result.gain is not None:
        findings += [_against_metadata(result.intervals["poster_over_metadata"])]
        findings += [_gain(result.gain, result.optimistic)]
    start = f"Its probabilities are off by {error.estimate:.3f} on average (ECE"
    if error.low == 0.0:
        findings.append(f"{start}), no more than a calibrated model would show on as few posters.")
    else:
        findings.append(f"{start}, interval {error.low:.3f} to {error.high:.3f}).")
    worst = [
        f"{row['slice']}: {row['value']} (n = {row['posters']:,}, "
        f"ROC AUC {Interval.of(row, 'roc_auc').text(2)})"
        for row in result.worst.to_dict("records")
    ]
    return [*findings, f"It is weakest on {'; '.join(worst)}."] if worst else findings


def _side(interval: Interval, value: float) -> int:
    """Returns 0 where the interval lies above the value, 1 where below, 2 where it holds the value."""
    return 0 if interval.low > value else 1 if interval.high < value else 2


def _against_metadata(difference: Interval) -> str:
    """The poster alone against year + genres alone, paired on the same posters."""
    words = ("beats", "knows less than", "cannot be told apart from")[_side(difference, 0.0)]
    by = f"ROC AUC {difference.text(sign=True)} on the same posters"
    return f"It {words} year and genres alone, without any poster: {by}."


def _gain(gain: Interval, optimistic: bool) -> str:
    text = "It is not shown that the poster adds anything to year and genres: ROC AUC changes by"
    if gain.low > 0:
        text = "The poster adds to year and genres: together ROC AUC rises by"
    text += f" {gain.text(sign=True)}."
    if optimistic:
        text += " These posters also chose the model's epoch, so the gain is too high: quote that of test."
    return text


def metric_rows(result: EvaluationResult) -> list[tuple[str, str]]:
    """Returns names and values of all numbers, the model's first, then what it is compared with."""
    rows = [(label, result.intervals[name].text()) for name, label in METRIC_LABELS.items()]
    rows.append(("Accuracy of always naming the majority", f"{result.references.majority_accuracy:.3f}"))
    rows += [
        (f"{BASELINE_NAMES[name]}: ROC AUC", result.intervals[f"baseline_{name}_roc_auc"].text())
        for name in result.references.baselines
    ]
    combination = result.references.combination
    if result.gain is not None and combination is not None:
        rows.append(("Year + genres + poster: ROC AUC", result.intervals["year_genre_poster_roc_auc"].text()))
        caveat = "; too high, these posters chose the epoch" if result.optimistic else ""
        rows.append((f"Gain by the poster ({combination.design}{caveat})", result.gain.text(sign=True)))
    return rows


def score_rows(result: EvaluationResult) -> list[list[str]]:
    """Returns the rows of `SCORE_COLUMNS`: what the poster, year + genres, and all of them score."""
    if "combined" not in result.scores.index:
        return []
    how = "cross-fitted on these posters" if result.optimistic else "as the model serves it"
    names = {"poster": "Poster alone", "metadata": "Year and genres", "combined": f"Combined, {how}"}
    return [
        [
            f"{names[str(name)]} (n = {row['posters']:,.0f})",
            *(Interval.of(row, score).text() for score in SCORED),
        ]
        for name, row in result.scores.to_dict("index").items()
    ]


def headlines(result: EvaluationResult) -> list[tuple[str, str, str]]:
    """Returns ROC AUC and accuracy beside what they must beat, and the gain over the metadata.

    Returns: what each number is, the number, and its interval with what it is compared with.
    """
    majority = result.references.majority_accuracy
    found = [
        ("ROC AUC", result.intervals["roc_auc"], ".3f", "{}; chance .500"),
        ("Accuracy", result.intervals["accuracy"], ".3f", f"{{}}; majority {majority:.3f}"),
    ]
    if (auc := result.intervals.get("baseline_year_genre_roc_auc")) is not None:
        found.append(("Year + genres, no poster", auc, ".3f", "AUC; {}"))
    if result.gain is not None:
        found.append(("Poster on top of these", result.gain, "+.3f", "AUC; {}"))
    return [
        (label, f"{one.estimate:{form}}", detail.format(f"{one.low:{form}} to {one.high:{form}}"))
        for label, one, form, detail in found
    ]
