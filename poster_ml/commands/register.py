"""`poster-ml register`: the best run of a family into the registry."""

from __future__ import annotations

from poster_ml.serving.registry import Version, register_best
from poster_ml.tracking.store import connect, experiment_name


def run_register(family: str = "vgg16", *, allow_demo: bool = False, dataset: str = "") -> Version:
    """Registers the best finished run; arguments, result and errors as for `register_best`."""
    connect(write=True)
    return register_best(family, experiment=experiment_name(), allow_demo=allow_demo, dataset=dataset)
