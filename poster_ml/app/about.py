"""What the page knows of the model that it asks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from poster_ml.errors import TrackingError
from poster_ml.evaluation.stats import with_interval
from poster_ml.serving.load import identify
from poster_ml.tracking.runs import RunRecord, fetched, find_run

SPLITS = {"validation": "val", "test": "test"}
FIGURES = {"accuracy": "accuracy", "ROC AUC": "roc_auc", "larger class": "majority_accuracy"}


@dataclass(frozen=True)
class About:
    """The model behind the page.

    name: as registered, or its URI. size, fit: of the network's square input, see `ServingSettings`.
    genres: that it knows; None where nobody can say.
    figures: for each split that was evaluated, `split` and the `FIGURES` as texts.
    slices: rows of `compute_slices`.
    facts: further lines, name to text; "" is not shown. card: the model card, Markdown; "" without one.
    pictures: movie id to a data URI of its poster, where the dataset is at hand.
    """

    name: str
    size: int = 224
    fit: str = "squash"
    genres: tuple[str, ...] | None = None
    figures: tuple[Mapping[str, str], ...] = ()
    slices: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    card: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)


def describe_model(model: Any, model_uri: str, pictures: Mapping[str, str]) -> About:
    """Describes a model by itself and by the run that made it, where that is still there.

    Args:
        model: of `load_poster_model`, from `model_uri`.
        pictures: as of `About`.
    """
    served, known = model.unwrap_python_model(), identify(model, model_uri)
    settings = served.settings
    facts = {"Version": known["version"], "Model id": known["model_id"], "Network": settings.variant}
    about = About(
        name=known["version"] or model_uri,
        size=settings.size,
        fit=settings.fit,
        genres=tuple(sorted(served.answers.genres())),
        facts=facts,
        pictures=pictures,
    )
    try:
        return _with_run(about, find_run(known["run_id"]))
    except TrackingError:
        return about


def _with_run(about: About, run: RunRecord) -> About:
    facts = {"Run": run.run_id, "Dataset": run.tags.get("dataset.fingerprint", "")}
    facts |= {"Profile": run.tags.get("profile", ""), "Commit": run.tags.get("git_commit", "")}
    return replace(
        about,
        figures=_figures(run),
        slices=_slices(run),
        facts={**about.facts, **facts},
        card=_artifact(run, "model_card.md"),
    )


def _figures(run: RunRecord) -> tuple[dict[str, str], ...]:
    evaluated = {words: name for words, name in SPLITS.items() if f"{name}_roc_auc" in run.metrics}
    return tuple(
        {"split": words}
        | {name: with_interval(run.metrics, f"{split}_{metric}") for name, metric in FIGURES.items()}
        for words, split in evaluated.items()
    )


def _slices(run: RunRecord) -> tuple[dict[str, Any], ...]:
    """Returns the slices of the test posters, or else of the validation posters."""
    for split in ("test", "val"):
        if table := _artifact(run, f"evaluation/{split}/slices.csv"):
            text = io.StringIO(table)
            found = pd.read_csv(text, dtype={"value": str}, keep_default_na=False, na_values=[""])
            return tuple({str(key): value for key, value in row.items()} for row in found.to_dict("records"))
    return ()


def _artifact(run: RunRecord, path: str) -> str:
    """Returns the text of an artifact, "" where the run has none."""
    try:
        with fetched(run.run_id, path) as file:
            return file.read_text(encoding="utf-8")
    except TrackingError:
        return ""
