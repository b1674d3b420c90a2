"""Which model answers: resolved from a URI to what never moves, so that a result can say who made it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelIdentity:
    """One logged model.

    model_id: MLflow's id of the logged model, m-...; it stays when an alias moves. model_uri: as it was
    given. version: "poster-vgg16 version 3" where the URI names a registered model, else "". run_id: where
    it was trained, "" where unknown. settings: as in `ServingSettings` (size, threshold, temperature, ...).
    """

    model_id: str
    model_uri: str
    version: str
    run_id: str
    settings: dict[str, Any]

    def text(self) -> str:
        """Returns in a few words which model it is."""
        return f"{self.version} ({self.model_id})" if self.version else self.model_id

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)


def identify(model: Any, model_uri: str) -> ModelIdentity:
    """Says which model was loaded.

    Args:
        model: what `load_poster_model` returned.
        model_uri: what it was loaded from.
    """
    metadata = model.metadata
    known = metadata.metadata or {}
    return ModelIdentity(
        model_id=str(metadata.model_id or metadata.model_uuid),
        model_uri=model_uri,
        version=_version(model_uri),
        run_id=str(metadata.run_id or ""),
        settings=dict(known.get("settings", {})),
    )


def _version(model_uri: str) -> str:
    import mlflow

    by_alias = re.fullmatch(r"models:/+([^/@]+)@([^/@]+)", model_uri)
    if by_alias:
        found = mlflow.MlflowClient().get_model_version_by_alias(by_alias[1], by_alias[2])
        return f"{found.name} version {found.version}"
    by_number = re.fullmatch(r"models:/+([^/@]+)/(\d+)", model_uri)
    return f"{by_number[1]} version {by_number[2]}" if by_number else ""


def model_id_of(model_uri: str) -> str:
    """Returns the id of the logged model behind a URI, "" where the model has none.

    Raises: RegistryError where there is no such model.
    """
    from mlflow.models import Model

    from poster_ml.serving.load import model_folder

    return str(Model.load(str(model_folder(model_uri))).model_id or "")
