"""The model card: what a model is, how good it is, what it is not for (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poster_ml.evaluation.page import metric_rows
from poster_ml.evaluation.report_files import EvaluationResult
from poster_ml.evaluation.verdicts import verdict_sentences

USES = (
    "Research and teaching: what a poster alone tells about the reviews, and what networks make of posters.",
    "Ranking or sorting many posters, where single errors do no harm and a person looks at the result.",
)
LIMITS = (
    "It judges a poster, not a movie: a probability is a statement about posters that look alike.",
    "Year and genre are visible in a poster's style; much of what it knows may be just these.",
    "It was measured on posters of the dataset named above; other countries, languages and sizes were not.",
    "What Fresh posters have in common is association: changing a poster does not change the reviews.",
    "Not for decisions about people, funding or release.",
)


def model_card_markdown(
    result: EvaluationResult,
    *,
    name: str,
    split: str,
    facts: Mapping[str, str],
    training_data: str,
    extra_limits: Sequence[str] = (),
) -> str:
    """Writes the model card.

    Args:
        result: of `report_files.write_evaluation`.
        name: of the model, for example "poster-vgg16".
        split: on which the figures were measured, for example "test".
        facts: what was run (variant, weights, dataset fingerprint, commit).
        training_data: a sentence on what it was fitted on.
        extra_limits: more sentences for "Limits".

    Returns: Markdown that ends with a line break.
    """
    lines = [
        f"# {_cell(name)}",
        "",
        "Tells from a movie poster how likely critics find the movie Fresh (60 % positive reviews or more) "
        "on Rotten Tomatoes. Input: one poster; output: the probability of Fresh and, at a threshold of "
        f"{result.threshold:.3g}, the label.",
        "",
        "## What it was fitted on",
        "",
        training_data,
        "",
        f"## How good it is: {_cell(split)}, {result.posters:,} posters ({result.fresh_share:.1%} Fresh)",
        "",
        *(f"- {sentence}" for sentence in verdict_sentences(result)),
        "",
        f"| metric | value ({result.confidence:.0%} interval) |",
        "|---|---|",
        *(f"| {_cell(label)} | {value} |" for label, value in metric_rows(result)),
        "",
        *(f"{note}\n" for note in result.notes),
        "## Intended use",
        "",
        *(f"- {use}" for use in USES),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in (*LIMITS, *extra_limits)),
        "",
        "## What was run",
        "",
        "| what | value |",
        "|---|---|",
        *(f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Keeps a text on one line and inside its table cell."""
    return " ".join(str(text).split()).replace("|", "\\|")
