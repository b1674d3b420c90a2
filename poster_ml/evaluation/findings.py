"""What the numbers say, as sentences, table and headlines: written from the numbers alone."""

from __future__ import annotations

from poster_ml.evaluation.gain import PosterGain
from poster_ml.evaluation.page import Headline
from poster_ml.evaluation.report_files import EvaluationResult
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
BASELINE_NAMES = {
    "year": "Year alone",
    "genre": "Genres alone",
    "year_genre": "Year + genres",
    "colour": "Colour histogram",
}


def finding_sentences(result: EvaluationResult) -> list[str]:
    """Says in plain words what an evaluation found.

    Returns: one sentence each on: better than chance, better than always naming the majority, better or worse
        than year + genres, what the poster adds to them, calibration, and the worst slices; those that could
        not be measured are left out.
    """
    findings = [_against_chance(result), _against_majority(result)]
    if "year_genre" in result.baselines:
        findings.append(_against_metadata(result))
    if result.gain is not None:
        findings.append(_gain(result.gain))
    findings.append(_calibration(result))
    worst = [
        f"{row['slice']}: {row['value']} (n = {row['posters']:,}, "
        f"ROC AUC {Interval.of(row, 'roc_auc').text(2)})"
        for row in result.worst.to_dict("records")
    ]
    return [*findings, f"It is weakest on {'; '.join(worst)}."] if worst else findings


def _against_chance(result: EvaluationResult) -> str:
    auc = result.intervals["roc_auc"]
    interval = f"the {result.confidence:.0%} interval of ROC AUC, {auc.low:.3f} to {auc.high:.3f},"
    if auc.low > 0.5:
        return (
            "The poster tells something about the reviews: of one Fresh and one Rotten poster the model puts "
            f"the Fresh one first in {auc.estimate:.0%} of the cases, and {interval} lies above chance."
        )
    if auc.high < 0.5:
        return (
            f"The model ranks posters worse than chance: {interval} lies below .5; look for swapped labels."
        )
    return f"It is not shown that the model does better than chance: {interval} includes .5."


def _against_majority(result: EvaluationResult) -> str:
    accuracy, majority = result.intervals["accuracy"], result.majority_accuracy
    start = f"Its accuracy of {accuracy.estimate:.3f}"
    if accuracy.low > majority:
        return f"{start} is above the {majority:.3f} of always naming the majority, interval and all."
    if accuracy.high < majority:
        return f"{start} is below the {majority:.3f} that always naming the majority reaches."
    return f"{start} cannot be told apart from the {majority:.3f} of always naming the majority."


def _against_metadata(result: EvaluationResult) -> str:
    """The poster alone against year + genres alone, paired where both were scored on the same posters."""
    auc, metadata = result.intervals["roc_auc"], result.baselines["year_genre"].roc_auc
    names = f"year and genres alone, without any poster (ROC AUC {metadata.estimate:.3f})"
    if result.gain is not None:
        paired = result.gain.poster_over_metadata
        beats, loses = paired.low > 0, paired.high < 0
        by = f": {paired.text(sign=True)} on the same posters"
    else:  # two intervals that overlap prove nothing: then nothing is claimed
        beats, loses = auc.low > metadata.high, auc.high < metadata.low
        by = "" if beats or loses else ": the intervals overlap"
    words = "beats" if beats else "knows less than" if loses else "cannot be told apart from"
    return f"It {words} {names}{by}."


def _gain(measured: PosterGain) -> str:
    gain = measured.gain.text(sign=True)
    if measured.gain.low > 0:
        text = f"The poster adds to year and genres: together ROC AUC rises by {gain}."
    else:
        text = f"It is not shown that the poster adds anything to year and genres: ROC AUC changes by {gain}."
    if measured.optimistic:
        text += " These posters also chose the model's epoch, so the gain is too high: quote that of test."
    return text


def _calibration(result: EvaluationResult) -> str:
    error = result.intervals["ece"]
    start = f"Its probabilities are off by {error.estimate:.3f} on average (ECE"
    if error.low == 0.0:
        return f"{start}), no more than a calibrated model would show on as few posters."
    return f"{start}, interval {error.low:.3f} to {error.high:.3f})."


def metric_rows(result: EvaluationResult) -> list[tuple[str, str]]:
    """Returns names and values of all numbers, the model's first, then what it is compared with."""
    rows = [(label, result.intervals[name].text()) for name, label in METRIC_LABELS.items()]
    rows.append(("Accuracy of always naming the majority", f"{result.majority_accuracy:.3f}"))
    rows += [
        (f"{BASELINE_NAMES[name]}: ROC AUC", item.roc_auc.text()) for name, item in result.baselines.items()
    ]
    if result.gain is not None:
        rows.append(("Year + genres + poster: ROC AUC", result.gain.combined_auc.text()))
        caveat = "; too high, these posters chose the epoch" if result.gain.optimistic else ""
        rows.append((f"Gain by the poster ({result.gain.design}{caveat})", result.gain.gain.text(sign=True)))
    return rows


def headlines(result: EvaluationResult) -> list[Headline]:
    """Returns ROC AUC and accuracy beside what they must beat, and the gain over the metadata."""
    auc, accuracy = result.intervals["roc_auc"], result.intervals["accuracy"]
    found = [
        _headline("ROC AUC", auc, "{}; chance .500"),
        _headline("Accuracy", accuracy, f"{{}}; majority {result.majority_accuracy:.3f}"),
    ]
    if "year_genre" in result.baselines:
        found.append(_headline("Year + genres, no poster", result.baselines["year_genre"].roc_auc, "AUC; {}"))
    if result.gain is not None:
        found.append(_headline("Poster on top of these", result.gain.gain, "AUC; {}", "+.3f"))
    return found


def _headline(label: str, interval: Interval, detail: str, form: str = ".3f") -> Headline:
    ends = f"{interval.low:{form}} to {interval.high:{form}}"
    return Headline(label, f"{interval.estimate:{form}}", detail.format(ends))
