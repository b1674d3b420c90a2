"""What the numbers say, in sentences: written from the numbers alone, so that they cannot promise more."""

from __future__ import annotations

from poster_ml.evaluation.report_files import EvaluationResult


def verdict_sentences(result: EvaluationResult) -> list[str]:
    """Says in plain words what an evaluation found.

    Returns: one sentence each on: better than chance, better than always naming the majority, better or worse
        than year + genres, what the poster adds to them, calibration, and the worst slices; those that could
        not be measured are left out.
    """
    sentences = [_against_chance(result), _against_majority(result)]
    sentences += _against_metadata(result) + _gain(result) + [_calibration(result)] + _worst(result)
    return sentences


def _against_chance(result: EvaluationResult) -> str:
    auc = result.intervals["roc_auc"]
    if auc.low > 0.5:
        return (
            "The poster tells something about the reviews: of one Fresh and one Rotten poster the model puts "
            f"the Fresh one first in {auc.estimate:.0%} of the cases, and the interval of ROC AUC, "
            f"{auc.low:.3f} to {auc.high:.3f}, lies above chance."
        )
    if auc.high < 0.5:
        return (
            f"The model ranks posters worse than chance: the interval of ROC AUC, {auc.low:.3f} to "
            f"{auc.high:.3f}, lies below .5; look for swapped labels."
        )
    return (
        f"It is not shown that the model does better than chance: the interval of ROC AUC, {auc.low:.3f} to "
        f"{auc.high:.3f}, includes .5."
    )


def _against_majority(result: EvaluationResult) -> str:
    accuracy, majority = result.intervals["accuracy"], result.majority_accuracy
    start = f"Its accuracy of {accuracy.estimate:.3f}"
    if accuracy.low > majority:
        return f"{start} is above the {majority:.3f} of always naming the majority, interval and all."
    if accuracy.high < majority:
        return f"{start} is below the {majority:.3f} that always naming the majority reaches."
    return f"{start} cannot be told apart from the {majority:.3f} of always naming the majority."


def _against_metadata(result: EvaluationResult) -> list[str]:
    """The poster alone against year + genres alone, paired where both were scored on the same posters."""
    if "year_genre" not in result.baselines:
        return []
    auc, metadata = result.intervals["roc_auc"], result.baselines["year_genre"].roc_auc
    names = f"year and genres alone, without any poster (ROC AUC {metadata.estimate:.3f})"
    if result.gain is not None:
        paired = result.gain.poster_over_metadata
        beats, loses = paired.low > 0, paired.high < 0
        by = f": {paired.text(sign=True)} on the same posters"
    else:  # two intervals that overlap prove nothing: then nothing is claimed
        beats, loses = auc.low > metadata.high, auc.high < metadata.low
        by = "" if beats or loses else ": the intervals overlap"
    if beats:
        return [f"It beats {names}{by}."]
    if loses:
        return [f"It knows less than {names}{by}."]
    return [f"It cannot be told apart from {names}{by}."]


def _gain(result: EvaluationResult) -> list[str]:
    if result.gain is None:
        return []
    gain = result.gain.gain
    caveat = (
        " These posters also chose the model's epoch, so the gain is too high: quote that of test."
        if result.gain.optimistic
        else ""
    )
    if gain.low > 0:
        text = f"The poster adds to year and genres: together ROC AUC rises by {gain.text(sign=True)}."
    else:
        text = (
            "It is not shown that the poster adds anything to year and genres: ROC AUC changes by "
            f"{gain.text(sign=True)}."
        )
    return [text + caveat]


def _calibration(result: EvaluationResult) -> str:
    error = result.intervals["ece"]
    start = f"Its probabilities are off by {error.estimate:.3f} on average (ECE"
    if error.low == 0.0:
        return f"{start}), no more than a calibrated model would show on as few posters."
    return f"{start}, interval {error.low:.3f} to {error.high:.3f})."


def _worst(result: EvaluationResult) -> list[str]:
    named = [
        f"{item.kind} {item.name} (n = {item.count:,}, ROC AUC {item.roc_auc.text(2)})"
        for item in result.worst
        if item.roc_auc is not None
    ]
    return [f"It is weakest on: {'; '.join(named)}."] if named else []
