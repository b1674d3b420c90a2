"""Versions and aliases of registered models: the best run in, the last one back.

A registered model is called `poster-<family>`. The alias `champion` is what serves, `challenger` wants to.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import mlflow

from poster_ml.errors import RegistryError, nearest
from poster_ml.serving.card import description as card_text
from poster_ml.serving.card import version_tags
from poster_ml.serving.load import logged_model

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
QUANTIZED = "quantized"
_FAMILY, _FINGERPRINT = "model.family", "dataset.fingerprint"


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    name, number: as in models:/name/number. alias: "champion", "challenger" or "". run_id: where it came
    from. metric, score: what it was chosen by (empty and NaN where it was not chosen here). created: False
    where this run had been registered before.
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
    metric: str = "val_roc_auc",
    allow_demo: bool = False,
    dataset_fingerprint: str | None = None,
) -> Version:
    """Registers the model of the best finished run of a family.

    The first version becomes champion, every later one challenger. A run that is registered already is
    not registered twice.

    Args:
        family: as in `model.family`: "vgg16", "mobilenet_v2", ...
        experiment: name of the MLflow experiment.
        metric: a validation metric, larger is better; never one of the test posters.
        allow_demo: also takes runs on the built-in synthetic posters (tag profile=demo).
        dataset_fingerprint: of the dataset that runs are compared on; None takes that of the newest run.

    Raises: RegistryError saying what there is and what to run.
    """
    if not metric.startswith("val_"):
        raise RegistryError(
            f"models are chosen by a validation metric, got {metric!r}: give val_roc_auc or another val_*"
        )
    client = mlflow.MlflowClient()
    runs = _finished_runs(client, experiment, family, allow_demo)
    fingerprint = dataset_fingerprint or runs[0].data.tags.get(_FINGERPRINT, "")
    candidates = _candidates(runs, fingerprint, metric, family)
    for run in candidates:
        model = logged_model(run)
        if model is not None:
            return _register(client, registered_name(family), run, model, metric, len(candidates))
    raise RegistryError(
        f"none of the {len(candidates)} finished runs of {family} has a logged model: "
        f"train one with `poster-ml train --model {family}`"
    )


def register_run(run_id: str, *, metric: str = "val_roc_auc", chosen_among: int = 1) -> Version:
    """Registers the model of one finished run that was chosen elsewhere, by a search for example.

    The first version of its family becomes champion, every later one challenger. A run that is registered
    already is not registered twice.

    Args:
        run_id: of a training run with a logged model.
        metric: a validation metric of the run, which the version's card names.
        chosen_among: networks whose validation scores led to this run, itself included; at least 1.

    Raises: RegistryError where the run is unknown, unfinished, of the demo, or lacks model or metric.
    """
    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
    except mlflow.MlflowException as error:
        raise RegistryError(f"no run {run_id!r} in this store: give the id of a training run") from error
    if run.info.status != "FINISHED":
        raise RegistryError(f"run {run_id} is {run.info.status}, not FINISHED: finish it first")
    if run.data.tags.get("profile") == "demo":
        raise RegistryError(f"run {run_id} is a demo run on synthetic posters: train on real ones")
    if not metric.startswith("val_") or metric not in run.data.metrics:
        raise RegistryError(f"run {run_id} has no validation metric {metric!r}: give val_roc_auc")
    model = logged_model(run)
    if model is None:
        raise RegistryError(f"run {run_id} has no logged model: give the id of a training run")
    return _register(client, registered_name(_family_of(run)), run, model, metric, chosen_among)


def find_version(name: str, alias: str) -> Any:
    """Returns mlflow's ModelVersion behind an alias.

    Raises: RegistryError saying what exists and what to run.
    """
    client = mlflow.MlflowClient()
    aliases = _aliases(client, name)
    if alias not in aliases:
        family = name.removeprefix("poster-")
        had = ", ".join(f"@{key} (version {value})" for key, value in sorted(aliases.items())) or "none"
        raise RegistryError(
            f"{name} has no alias {alias!r}; it has {had}: run `poster-ml register --family {family}` first"
        )
    return client.get_model_version(name, aliases[alias])


def move_champion(name: str, number: str) -> None:
    """Makes a version the champion, and remembers the one before for `roll_back`.

    The champion alias moves in one write: a reader sees the old or the new version, never none.
    """
    client = mlflow.MlflowClient()
    aliases = _aliases(client, name)
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
    aliases = _aliases(client, name)
    if PREVIOUS not in aliases:
        raise RegistryError(
            f"{name} has had no champion before version {current.version}: nothing to roll back to; "
            f"move it by hand with mlflow's set_registered_model_alias if you must"
        )
    version = client.get_model_version(name, aliases[PREVIOUS])
    client.set_registered_model_alias(name, CHAMPION, version.version)
    client.set_registered_model_alias(name, CHALLENGER, current.version)
    client.delete_registered_model_alias(name, PREVIOUS)
    client.set_model_version_tag(name, current.version, "rolled_back_to", version.version)
    return Version(name, int(version.version), CHAMPION, version.run_id or "")


def _aliases(client: Any, name: str) -> dict[str, str]:
    try:
        return {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    except mlflow.MlflowException as error:
        names = sorted(model.name for model in client.search_registered_models(max_results=100))
        there = f"registered: {', '.join(names)}" if names else "nothing is registered yet"
        family = name.removeprefix("poster-")
        raise RegistryError(
            f"no registered model {name!r}{nearest(name, names)}; {there}: "
            f"run `poster-ml register --family {family}` with a family such as cnn, vgg16 or mobilenet_v2"
        ) from error


def _finished_runs(client: Any, experiment: str, family: str, allow_demo: bool) -> list[Any]:
    """Returns the finished runs of a family, newest first, without demo runs unless allowed."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise RegistryError(
            f"no experiment {experiment!r} in this store: train first, `poster-ml train --model {family}`"
        )
    finished = mlflow.search_runs(
        [found.experiment_id],
        "attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    runs = [run for run in finished if _family_of(run) == family]
    if not runs:
        raise RegistryError(_no_runs(finished, family, experiment))
    real = [run for run in runs if run.data.tags.get("profile") != "demo"]
    if not real and not allow_demo:
        raise RegistryError(
            f"all {len(runs)} finished runs of {family} are demo runs on synthetic posters: train on "
            f"real ones (`poster-ml train --model {family} --data DIR`), or allow them with --allow-demo"
        )
    return real or runs


def _family_of(run: Any) -> str:
    return str(run.data.params.get(_FAMILY) or run.data.tags.get("family", ""))


def _no_runs(finished: list[Any], family: str, experiment: str) -> str:
    of_variant = [_family_of(run) for run in finished if run.data.tags.get("variant") == family]
    if any(of_variant):
        known = next(filter(None, of_variant))
        return (
            f"{family!r} is a variant of the family {known!r}, and families are registered: "
            f"`poster-ml register --family {known}`"
        )
    counts = Counter(filter(None, map(_family_of, finished)))
    there = ", ".join(f"{key} ({count})" for key, count in sorted(counts.items())) or "none"
    return (
        f"no finished run of {family!r} in experiment {experiment!r}{nearest(family, counts)}; "
        f"finished runs: {there}: train one with `poster-ml train --model {family}`"
    )


def _candidates(runs: list[Any], fingerprint: str, metric: str, family: str) -> list[Any]:
    """Returns the runs on one dataset that have the metric, best first (the older one where equal)."""
    same = [run for run in runs if run.data.tags.get(_FINGERPRINT, "") == fingerprint]
    if not same:
        there = sorted({run.data.tags.get(_FINGERPRINT, "(none)") for run in runs})
        raise RegistryError(
            f"no finished run of {family} on the dataset {fingerprint!r}; "
            f"there are runs on {', '.join(there[:10])}"
        )
    whole = [run for run in same if run.data.params.get("max_samples", "0") == "0"]
    if not whole:
        raise RegistryError(
            f"all {len(same)} finished runs of {family} on this dataset were limited to some of its posters: "
            f"train on all of them (without --limit) before registering"
        )
    scored = [run for run in whole if math.isfinite(run.data.metrics.get(metric, math.nan))]
    if not scored:
        names = sorted({key for run in whole for key in run.data.metrics if key.startswith("val_")})
        raise RegistryError(
            f"no finished run of {family} has the metric {metric!r}{nearest(metric, names)}; "
            f"they have: {', '.join(names[:20]) or 'no val_* metric'}"
        )
    return sorted(scored, key=lambda run: (-run.data.metrics[metric], run.info.start_time))


def register_quantized(
    family: str, model_id: str, run_id: str, tags: dict[str, str], description: str
) -> Version:
    """Registers a quantized model as a version of its family, under the alias `quantized`.

    It becomes neither champion nor challenger: who serves on processors asks for models:/NAME@quantized.

    Args:
        family: as in `model.family`. model_id: of the logged model. run_id: of the run that made it.
        tags, description: of the version.
    """
    client, name = mlflow.MlflowClient(), registered_name(family)
    _ensure_name(client, name)
    number = _create_version(client, name, model_id, run_id, tags, description)
    client.set_registered_model_alias(name, QUANTIZED, str(number))
    return Version(name, number, QUANTIZED, run_id, created=True)


def _ensure_name(client: Any, name: str) -> None:
    question = "Is a movie's poster that of a movie that critics find Fresh?"
    try:
        client.create_registered_model(name, description=question)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _create_version(
    client: Any, name: str, model_id: str, run_id: str, tags: dict[str, str], description: str
) -> int:
    """Makes a version of a registered model from a logged model and returns its number."""
    source = f"models:/{model_id}"
    created = client.create_model_version(
        name, source, run_id, tags=tags, description=description, model_id=model_id
    )
    return int(created.version)


def _register(client: Any, name: str, run: Any, model: Any, metric: str, chosen_among: int) -> Version:
    run_id, score = run.info.run_id, float(run.data.metrics[metric])
    _ensure_name(client, name)
    aliases = _aliases(client, name)
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.run_id == run_id:
            alias = next((key for key, value in aliases.items() if value == str(known.version)), "")
            return Version(name, int(known.version), alias, run_id, metric, score)
    tags = version_tags(run, metric) | {"chosen_among": str(chosen_among)}
    text = card_text(run, metric, chosen_among)
    number = _create_version(client, name, model.model_id, run_id, tags, text)
    alias = CHALLENGER if CHAMPION in aliases else CHAMPION
    client.set_registered_model_alias(name, alias, str(number))
    return Version(name, number, alias, run_id, metric, score, created=True)
