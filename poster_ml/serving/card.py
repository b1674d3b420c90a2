"""What a registered version says about itself: tags for scripts, a model card for people."""

from __future__ import annotations

from typing import Any

REPORTED = ("val_", "test_", "baseline_", "poster_beyond_metadata_")
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


def model_card(run: Any, name: str, metric: str, chosen_among: int = 1) -> str:
    """Returns the description of a version in Markdown: what it is, results, data, use and limits.

    Args:
        run: mlflow's Run.
        name: of the registered model.
        metric: what the run was chosen by.
        chosen_among: networks whose validation scores led to this run, itself included.
    """
    tags, metrics = run.data.tags, run.data.metrics
    lines = [
        f"# {name}: {tags.get('variant', 'unknown variant')}",
        "",
        "Probability that critics found a movie Fresh (Rotten Tomatoes, 60 % positive reviews or more), "
        "from its poster alone.",
        "",
        f"- Run `{run.info.run_id}`, commit `{tags.get('git_commit', 'unknown')}`, "
        f"protocol {tags.get('protocol', 'unknown')}, initial weights {tags.get('weights', 'unknown')}.",
        f"- Data: prepared dataset `{tags.get('dataset.fingerprint', 'unknown')}`"
        + (
            " (synthetic demo posters: no statement about real movies)."
            if tags.get("profile") == "demo"
            else "."
        ),
        f"- Chosen by {metric} on the validation posters"
        + (f", among {chosen_among:,} networks" if chosen_among > 1 else "")
        + "; test posters had no say. Validation also chose the epoch, so `val_*` are too high: "
        "quote `test_*`.",
        "",
        "| result | value, 95 % interval |",
        "|---|---|",
        *(f"| {key} | {with_interval(metrics, key)} |" for key in reported_metrics(metrics)),
        "",
        "Input: column `image`, base64 of a JPEG, PNG or WebP file. Output: `probability_fresh`, `label`, "
        "`threshold`, `error`.",
        "Limits: year and genre alone predict the label better than any poster model of the study so far; "
        "a score describes how a poster looks, not how good a movie is.",
    ]
    return "\n".join(lines)
