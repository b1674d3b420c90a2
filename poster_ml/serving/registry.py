"""Versions and aliases of registered models: the best run in, the last one back.

A registered model is called `poster-<family>`. The alias `champion` is what serves, `challenger` wants to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import mlflow

from poster_ml.errors import RegistryError
from poster_ml.serving.load import logged_model

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
QUANTIZED = "quantized"
METRIC = "val_roc_auc"  # that runs are chosen by: of the validation posters, never of the test posters
DESCRIPTION_LENGTH = 5000  # characters that MLflow's table of versions holds


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    name, number: as in models:/name/number. alias: "champion", "challenger" or "". run_id: where it
    came from. metric, score: what it was chosen by (empty and NaN where it was not chosen here).
    created: False where this run had been registered before.
    """

    name: str
    number: int
    alias: str
    run_id: str
    metric: str = ""
    score: float = math.nan
    created: bool = False

    @property
    def uri(self) -> str:
        """What loads exactly this version."""
        return f"models:/{self.name}/{self.number}"

    def text(self) -> str:
        """Returns in one line what this version is, for a terminal."""
        role = f" ({self.alias})" if self.alias else ""
        chosen = f", {self.metric} {self.score:.4f}" if self.metric else ""
        known = ", registered before" if self.metric and not self.created else ""
        return f"{self.name} version {self.number}{role}: run {self.run_id}{chosen}{known}"


def registered_name(family: str) -> str:
    """Returns the name that models of a family are registered under: "vgg16" gives "poster-vgg16"."""
    return f"poster-{family}"


def register_best(
    family: str,
    *,
    experiment: str = "poster-ml",
    allow_demo: bool = False,
    dataset: str = "",
) -> Version:
    """Registers the model of the finished run of a family with the highest validation ROC AUC.

    The first version becomes champion, every later one challenger. A run that is registered already is
    not registered twice.

    Args:
        family: as in `model.family`: "vgg16", "mobilenet_v2", ...
        experiment: name of the MLflow experiment.
        allow_demo: also takes runs on the built-in synthetic posters (tag profile=demo), where there are no
            others.
        dataset: fingerprint of the dataset that runs are compared on; empty takes that of the newest run.

    Raises: RegistryError saying what a run needs.
    """
    finished = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string="attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    runs = [run for run in finished if run.data.params.get("model.family") == family]
    real = [run for run in runs if run.data.tags.get("profile") != "demo"]
    runs = real or (runs if allow_demo else [])
    fingerprints = [run.data.tags.get("dataset.fingerprint", "") for run in runs]
    dataset = dataset or next(iter(fingerprints), "")
    candidates = [
        run
        for run, fingerprint in zip(runs, fingerprints, strict=True)
        if fingerprint == dataset
        and run.data.params.get("max_samples", "0") == "0"
        and "fold" not in run.data.tags  # scored on other validation posters than the rest
        and math.isfinite(run.data.metrics.get(METRIC, math.nan))
    ]
    # The best one first, the older one where two are equal.
    candidates.sort(key=lambda run: (-run.data.metrics[METRIC], run.info.start_time))
    for run in candidates:
        if model := logged_model(run):
            return _register(run, model, len(candidates))
    raise RegistryError(
        f"no run of the family {family!r} in experiment {experiment!r} can be registered: it must be "
        f"finished, with a model and {METRIC}, on all posters (no --limit) of the dataset {dataset!r}, real "
        "ones or with --allow-demo; train a variant of this family: `poster-ml train --model NAME --data DIR`"
    )


def register_run(run_id: str, *, chosen_among: int = 1) -> Version:
    """Registers the model of one finished run that was chosen elsewhere, by a search for example.

    The first version of its family becomes champion, every later one challenger. A run that is
    registered already is not registered twice.

    Args:
        run_id: of a training run with a logged model.
        chosen_among: networks whose validation scores led to this run, itself included; at least 1.

    Raises: RegistryError where the run is unfinished, of the demo, or lacks model or metric.
    """
    run = mlflow.MlflowClient().get_run(run_id)
    model = logged_model(run)
    real = run.data.tags.get("profile") != "demo"
    if not (model and real and METRIC in run.data.metrics and run.info.status == "FINISHED"):
        raise RegistryError(
            f"run {run_id} ({run.info.status}) cannot be registered: it must be FINISHED, on real posters, "
            f"with a logged model and {METRIC}"
        )
    return _register(run, model, chosen_among)


def add_version(
    family: str, model_id: str, run_id: str, *, alias: str, tags: dict[str, str], description: str
) -> Version:
    """Makes a version of a family's registered model from a logged model, under an alias.

    Args:
        family: as in `model.family`. model_id: of the logged model. run_id: of the run that made it.
        alias: moved to it. tags, description: of the version.
    """
    client, name = mlflow.MlflowClient(), registered_name(family)
    try:
        question = "Is a movie's poster that of a movie that critics find Fresh?"
        client.create_registered_model(name, description=question)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{model_id}"
    created = client.create_model_version(
        name, source, run_id, tags=tags, description=description, model_id=model_id
    )
    client.set_registered_model_alias(name, alias, str(created.version))
    return Version(name, int(created.version), alias, run_id, created=True)


def find_version(name: str, alias: str) -> Any:
    """Returns mlflow's ModelVersion behind an alias.

    Raises: RegistryError saying what to run.
    """
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except mlflow.MlflowException as error:
        family = name.removeprefix("poster-")
        raise RegistryError(
            f"{name} has no {alias}: run `poster-ml register --family {family}` first"
        ) from error


def move_champion(name: str, number: str) -> None:
    """Makes a version the champion, and remembers the one before for `roll_back`.

    The champion alias moves in one write: a reader sees the old or the new version, never none.
    """
    client = mlflow.MlflowClient()
    aliases = _aliases(name)
    before = aliases.get(CHAMPION)
    if before is not None and before != number:
        client.set_registered_model_alias(name, PREVIOUS, before)
    client.set_registered_model_alias(name, CHAMPION, number)
    if aliases.get(CHALLENGER) == number:
        client.delete_registered_model_alias(name, CHALLENGER)


def roll_back(name: str) -> Version:
    """Makes the champion before this one champion again; the one rolled back becomes challenger.

    Raises: RegistryError where there was none.
    """
    client = mlflow.MlflowClient()
    current = find_version(name, CHAMPION)
    before = _aliases(name).get(PREVIOUS)
    if before is None:
        raise RegistryError(
            f"{name} has had no champion before version {current.version}: nothing to roll back to"
        )
    version = client.get_model_version(name, before)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    client.set_registered_model_alias(name, CHALLENGER, current.version)
    client.delete_registered_model_alias(name, PREVIOUS)
    client.set_model_version_tag(name, current.version, "rolled_back_to", version.version)
    return Version(name, int(version.version), CHAMPION, version.run_id or "")


def _register(run: Any, model: Any, chosen_among: int) -> Version:
    family, run_id, score = run.data.params["model.family"], run.info.run_id, run.data.metrics[METRIC]
    name = registered_name(family)
    versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    aliases = _aliases(name) if versions else {}
    for number in [int(version.version) for version in versions if version.run_id == run_id]:
        alias = next((key for key, value in aliases.items() if int(value) == number), "")
        return Version(name, number, alias, run_id, METRIC, score)
    among = f", among {chosen_among:,} networks" if chosen_among > 1 else ""
    chosen = f"Run `{run_id}`, chosen by {METRIC} on the validation posters{among}; test posters had no say."
    version = add_version(
        family,
        model.model_id,
        run_id,
        alias=CHALLENGER if CHAMPION in aliases else CHAMPION,
        tags=_tags(run) | {"run_id": run_id, "chosen_by": METRIC, "chosen_among": str(chosen_among)},
        description=_description(run_id, chosen),
    )
    return replace(version, metric=METRIC, score=score)


def _aliases(name: str) -> dict[str, str]:
    found = mlflow.MlflowClient().get_registered_model(name)
    return {alias: str(number) for alias, number in found.aliases.items()}


def _tags(run: Any) -> dict[str, str]:
    """Returns where a run came from, and all results that have an interval: "0.6934 [0.6601, 0.7270]"."""
    metrics = run.data.metrics
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    for name in [key.removesuffix("_ci_low") for key in metrics if key.endswith("_ci_low")]:
        value, low, high = (metrics[name + end] for end in ("", "_ci_low", "_ci_high"))
        tags[name] = f"{value:.4f} [{low:.4f}, {high:.4f}]"
    return tags


def _description(run_id: str, chosen: str) -> str:
    """Returns the model card of a run as far as the registry takes it, and how the run was chosen."""
    try:
        card = mlflow.artifacts.load_text(f"runs:/{run_id}/model_card.md").rstrip()
    except (mlflow.MlflowException, OSError):
        card = "The run logged no model card; its results are the tags of this version."
    if len(card) + len(chosen) + 2 > DESCRIPTION_LENGTH:
        chosen += " The whole card is `model_card.md` of the run."
        card = card[: DESCRIPTION_LENGTH - len(chosen) - 2].rpartition("\n")[0]
    return f"{card}\n\n{chosen}"
