"""What a registered version says about itself: tags for scripts, the model card of its run for people."""

from __future__ import annotations

from typing import Any

REPORTED = ("val_", "test_", "baseline_", "poster_beyond_metadata_")
DESCRIPTION_LENGTH = 5000  # characters that MLflow's table of versions holds
_EPOCH_METRICS = {"val_loss", "val_auc"}  # curves, not results
_COPIED_TAGS = (
    "variant",
    "protocol",
    "profile",
    "dataset.fingerprint",
    "weights",
    "git_commit",
    "backend",
    "precision",
)


def version_tags(run: Any, metric: str) -> dict[str, str]:
    """Returns the tags of a version.

    Args:
        run: mlflow's Run.
        metric: what it was chosen by.

    Returns: every result with its interval ("0.6934 [0.6601, 0.7270]"), where it came from and what it was
        chosen by. All values are text, as MLflow wants them.
    """
    tags = {name: with_interval(run.data.metrics, name) for name in reported_metrics(run.data.metrics)}
    tags.update({key: run.data.tags[key] for key in _COPIED_TAGS if key in run.data.tags})
    commit = run.data.tags.get("git_commit") or run.data.tags.get("mlflow.source.git.commit", "unknown")
    tags.update({"run_id": run.info.run_id, "git_commit": commit, "chosen_by": metric})
    tags.setdefault("variant", "unknown")
    tags.setdefault("dataset.fingerprint", "unknown")
    return tags


def reported_metrics(metrics: dict[str, float]) -> list[str]:
    """Returns the names of the final results, without the ends of intervals and epoch curves."""
    ends = ("_ci_low", "_ci_high")
    return sorted(
        name
        for name in metrics
        if name.startswith(REPORTED) and not name.endswith(ends) and name not in _EPOCH_METRICS
    )


def with_interval(metrics: dict[str, float], name: str) -> str:
    """Returns "0.6934 [0.6601, 0.7270]", or the number alone where no interval was logged."""
    low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
    value = f"{metrics[name]:.4f}"
    return value if low is None or high is None else f"{value} [{low:.4f}, {high:.4f}]"


def description(run: Any, metric: str, chosen_among: int = 1) -> str:
    """Returns what a version says about itself: the run's own model card, and how the run was chosen.

    Args:
        run: mlflow's Run.
        metric: what the run was chosen by.
        chosen_among: networks whose validation scores led to this run, itself included.

    Returns: Markdown of at most DESCRIPTION_LENGTH characters; what is cut off stays in the run's
        `model_card.md`. A run without a card is named, with nothing claimed about it.
    """
    import mlflow

    run_id = run.info.run_id
    among = f", among {chosen_among:,} networks" if chosen_among > 1 else ""
    chosen = f"Run `{run_id}`, chosen by {metric} on the validation posters{among}; test posters had no say."
    try:
        card = mlflow.artifacts.load_text(f"runs:/{run_id}/model_card.md").rstrip()
    except (mlflow.MlflowException, OSError):
        card = "The run logged no model card; its results are the tags of this version."
    if len(card) + len(chosen) + 2 > DESCRIPTION_LENGTH:
        chosen += " The whole card is `model_card.md` of the run."
        card = card[: DESCRIPTION_LENGTH - len(chosen) - 2].rpartition("\n")[0]
    return f"{card}\n\n{chosen}"
