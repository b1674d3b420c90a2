"""`poster-ml quantize`: a version of a model that is faster on processors, offered only where it holds."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from poster_ml.errors import RegistryError
from poster_ml.evaluation.stats import delong_difference, delong_interval
from poster_ml.pipeline.evaluate import DecisionRule, ScoredModel, fit_decision_rule
from poster_ml.pipeline.records import check_size, recorded_config, recorded_dataset
from poster_ml.seeding import generator
from poster_ml.serving.load import load_keras_model
from poster_ml.serving.log import log_quantized_model
from poster_ml.serving.quantize import QuantizedNetwork, quantize_network, speed_ratio
from poster_ml.serving.registry import QUANTIZED, add_version
from poster_ml.tracking.runs import find_run, open_run, run_of_model
from poster_ml.tracking.store import connect
from poster_ml.training.batches import Samples, predict_logits

logger = logging.getLogger(__name__)

LEAST_SPEED, MOST_AUC_CHANGE = 2.0, 0.005
CALIBRATION_POSTERS = 200
SPEED_BATCHES = (1, 16)  # one poster per request, and what a busy service or `predict` works in


@dataclass(frozen=True)
class QuantizeResult:
    """The version that offers the quantized network, and what was measured on validation posters.

    version, uri: of the registered model. figures: in one line. metrics: as they are logged.
    """

    version: str
    uri: str
    figures: str
    metrics: dict[str, float]

    def text(self) -> str:
        """Returns the version and its figures in two lines."""
        return f"{self.version}\n{self.figures}"


def run_quantize(model_uri: str, *, data: Path | None = None, seed: int = 0) -> QuantizeResult:
    """Quantises a model to 8 bits, measures it against the original, and registers it where it holds.

    It holds where it is at least twice as fast at every batch size measured and its ROC AUC on the validation
    posters differs by at most .005. Temperature and threshold are fitted anew, as in training.

    Args:
        model_uri: as for `load_keras_model`.
        data: the prepared dataset; None takes the one that the model was trained on.
        seed: of the training posters that the ranges are measured on, an int >= 0.

    Raises: RegistryError with the figures where it does not hold, or the network cannot be converted;
        TrackingError, DatasetError as for `evaluate`.
    """
    connect(write=True)
    network, settings = load_keras_model(model_uri)
    record = find_run(run_of_model(model_uri))
    config, dataset = recorded_config(record), recorded_dataset(record, data)
    check_size(settings, dataset)
    logger.info("quantising")
    train = dataset.indices("train")
    drawn = generator(seed, "quantized").choice(train, min(CALIBRATION_POSTERS, len(train)), replace=False)
    content = quantize_network(network, np.array(dataset.images[np.sort(drawn)]))
    quantized = QuantizedNetwork(content)
    rows = dataset.indices("val", config.max_samples, config.seed)
    labels = dataset.labels(rows)
    samples = Samples(dataset.images, rows, labels)
    before, after = (predict_logits(model, samples) for model in (network, quantized))
    old_rule = DecisionRule(settings.temperature, settings.threshold)
    new_rule = fit_decision_rule(after, labels, config.evaluate)
    auc = delong_interval(labels, before, 0.95).estimate
    difference, _ = delong_difference(labels, after, before, 0.95)
    fresh = old_rule.probabilities(before) >= old_rule.threshold
    agreement = float(np.mean(fresh == (new_rule.probabilities(after) >= new_rule.threshold)))
    posters = {count: np.array(dataset.images[rows[:count]]) for count in SPEED_BATCHES}
    speed = {count: speed_ratio(network, quantized, pixels) for count, pixels in posters.items()}
    figures = ", ".join(f"{ratio:.1f} times the speed at batch {count}" for count, ratio in speed.items())
    figures += (
        f"; ROC AUC {difference.text(4, sign=True)} against {auc:.4f} on {len(rows):,} validation "
        f"posters; same label for {agreement:.1%}; {len(content) / 1e6:.1f} MB"
    )
    if min(speed.values()) < LEAST_SPEED or abs(difference.estimate) > MOST_AUC_CHANGE:
        raise RegistryError(
            f"no quantized version of {model_uri}: it needs {LEAST_SPEED:g} times the speed and an AUC "
            f"within {MOST_AUC_CHANGE:g}; measured: {figures}"
        )
    metrics = difference.columns("quantized_auc_difference")
    metrics |= {"quantized_agreement": agreement, "quantized_megabytes": len(content) / 1e6}
    metrics |= {f"quantized_speed_ratio_batch_{count}": ratio for count, ratio in speed.items()}
    # Neither the tag `family` nor its parameter: `register` must not take this run for a training run.
    tags = {
        "variant": f"{settings.variant}_quantized",
        "quantized_of": record.run_id,
        "profile": record.tags.get("profile", "full"),
        "dataset.fingerprint": record.tags.get("dataset.fingerprint", "unknown"),
    }
    name = f"{record.name} quantized"
    with open_run(name, tags=tags, parent_run_id=record.run_id, system_metrics=False) as run:
        run.log_metrics(metrics)
        reference = ScoredModel(quantized, dataset, config, new_rule, {"val": after}).reference()
        info = log_quantized_model(content, replace(settings, **asdict(new_rule)), reference)
    description = (
        f"8-bit version of the model of run `{record.run_id}` for processors (LiteRT); it draws no maps. "
        f"Measured: {figures}."
    )
    tags |= {key: f"{value:.4f}" for key, value in metrics.items()}
    version = add_version(
        settings.family, info.model_id, run.run_id, alias=QUANTIZED, tags=tags, description=description
    )
    return QuantizeResult(version.text(), version.uri, figures, metrics)
