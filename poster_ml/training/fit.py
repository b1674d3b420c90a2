"""Fits a network: epochs, the best one kept, schedules, checkpoints, resume. Knows no mlflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from poster_ml import seeding
from poster_ml.config import TrainConfig
from poster_ml.progress import progress_bar
from poster_ml.training import checkpoint, selection
from poster_ml.training.batches import Batches, Samples, predict_logits
from poster_ml.training.devices import of_all_processes
from poster_ml.training.optimizers import build_optimizer, plateau_rate

logger = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float]], None]


class StopTraining(Exception):  # noqa: N818 - a signal, not a mistake, like StopIteration
    """Raised by an epoch listener to end the training now, for example because a trial is pruned."""


@dataclass(frozen=True)
class FitResult:
    """The result of `fit`; the network itself holds the weights of the kept epoch.

    Args:
        history: one dict of metrics per epoch, the first epoch first.
        best_epoch: the epoch whose weights were kept, counted from 1.
        resumed_from: epochs that an earlier process had finished.
    """

    history: list[dict[str, float]]
    best_epoch: int
    resumed_from: int


def fit(
    model: Any,
    train: Samples,
    validation: Samples,
    settings: TrainConfig,
    *,
    seed: int,
    folder: Path,
    identity: str = "",
    scorer: Any = None,
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Trains a network in place and leaves the kept epoch's weights in it.

    Args:
        model: Keras model with one logit (B, 1); compiled here.
        train, validation: what is learned from, and what selects the epoch.
        settings: how to train.
        seed: of batch order, augmentation and dropout; 0 is a seed like any other.
        folder: for checkpoints. Where it holds some of the same `identity`, training continues from there.
        identity: a digest of everything the result depends on.
        scorer: the network that scores `validation`, where it is not `model`: the part above a frozen
            prefix, sharing the layers of `model`, while `validation` holds the prefix's output.
        on_epoch: called after every new epoch with its number (from 1) and metrics; a `StopTraining`
            that it raises goes through to the caller after the epoch was saved.

    Returns: the history, the kept epoch, and how much was read from a checkpoint.

    Raises: TrackingError where the checkpoint is damaged, of another identity, in use by another process, or
        cannot be written.
    """
    with checkpoint.run_lock(folder):
        arrays, history = checkpoint.load_state(folder, identity)
        resumed_from = len(history)
        logger.info(
            f"training on {len(train):,} posters, at most {settings.epochs} epochs"
            + (f", {resumed_from} of them done before" if resumed_from else "")
        )
        batches = Batches(train, settings.batch_size, seed)
        backbone = [layer for layer in model.layers if layer.trainable and not is_head(layer)]
        for phase in _phases(model, settings):
            if _is_over(history, settings, phase):
                continue
            _set_trainable(backbone, phase.whole)
            compile_model(model, settings, len(batches), phase.end - phase.start)
            if phase.start < resumed_from:
                checkpoint.restore_state(model, arrays)
            elif arrays and resumed_from == phase.start:
                checkpoint.restore_weights(model, arrays)
            while not _is_over(history, settings, phase):
                # In this order, so that a kill loses at most one epoch.
                epoch = len(history)
                metrics, raw = _train_epoch(model, batches, settings, seed, history)
                metrics |= _same(validation_metrics(scorer or model, validation, settings.batch_size))
                history.append(metrics)
                best = selection.best_epoch(history, settings.monitor) if settings.keep_best else epoch
                if best == epoch:
                    checkpoint.save_best(folder, model, epoch + 1)
                for variable, value in raw:
                    variable.assign(value)
                checkpoint.save_state(folder, model, history, identity, best + 1)
                logger.info(
                    f"epoch {epoch + 1:>3}/{settings.epochs}  loss {metrics['loss']:.4f}  "
                    f"accuracy {metrics['accuracy']:.3f}  val_loss {metrics['val_loss']:.4f}  "
                    f"val_accuracy {metrics['val_accuracy']:.3f}  val_auc {metrics['val_auc']:.3f}  "
                    f"{metrics['epoch_seconds']:.1f} s"
                )
                if on_epoch is not None:
                    on_epoch(epoch + 1, metrics)
        _set_trainable(backbone, True)
        return FitResult(history, checkpoint.restore_best(folder, model), resumed_from)


def _train_epoch(
    model: Any, batches: Batches, settings: TrainConfig, seed: int, history: list[dict[str, float]]
) -> tuple[dict[str, float], list[tuple[Any, np.ndarray]]]:
    """Trains the epoch after `history`, with order, draws and rate that depend on (seed, epoch) alone.

    Returns: its metrics; and the trainable variables with the values to continue from, where weights are
        averaged: the network holds the averages then.
    """
    epoch = len(history)
    batches.set_epoch(epoch)
    reset_draws(model, seed, epoch)
    if settings.schedule == "plateau":
        model.optimizer.learning_rate = plateau_rate(settings, [past["val_loss"] for past in history])
    raw: list[tuple[Any, np.ndarray]] = []

    def keep_raw(epoch: int, logs: Any) -> None:  # as `fit` ends, Keras puts the averages into the network
        if settings.ema_momentum > 0:
            raw.extend((variable, _value(variable)) for variable in model.trainable_variables)

    started = time.perf_counter()
    weights = class_weights(batches.samples.labels) if settings.class_weight == "balanced" else None
    with progress_bar(len(batches), f"epoch {epoch + 1}/{settings.epochs}", brief=True) as bar:
        follow = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: bar.update(1), on_epoch_end=keep_raw
        )
        trained = model.fit(batches, shuffle=False, verbose=0, callbacks=[follow], class_weight=weights)
    seconds = time.perf_counter() - started
    for variable, _ in raw:
        # On JAX the average and the weight are now one buffer, which the next step would give away twice.
        variable.assign(_value(variable))
    metrics = {name: float(values[-1]) for name, values in trained.history.items()}
    metrics["learning_rate"] = float(_value(model.optimizer.learning_rate))
    metrics["epoch_seconds"] = seconds
    metrics["images_per_second"] = len(batches.samples) / seconds
    return metrics, raw


def _same(metrics: dict[str, float]) -> dict[str, float]:
    """Returns process 0's numbers, which decide on rates and the end, so that several agree on them."""
    first = of_all_processes(np.array(list(metrics.values())))[0]
    return dict(zip(metrics, first.tolist(), strict=True))


def _value(variable: Any) -> np.ndarray:
    """Returns a copy."""
    return np.array(keras.ops.convert_to_numpy(variable))


@dataclass(frozen=True)
class _Phase:
    """Epochs start..end (from 0, end excluded) with one optimiser; `whole`: the backbone is trained too."""

    start: int
    end: int
    whole: bool


def _phases(model: Any, settings: TrainConfig) -> list[_Phase]:
    """One phase, or a warm-up of the head before it."""
    head_only = min(settings.head_warmup_epochs, settings.epochs) if _has_own_head(model) else 0
    phases = [_Phase(0, head_only, False), _Phase(head_only, settings.epochs, True)]
    return [phase for phase in phases if phase.start < phase.end]


def _is_over(history: list[dict[str, float]], settings: TrainConfig, phase: _Phase) -> bool:
    """Whether a phase is at its end, or patience is, which does not count while the head warms up."""
    stopped = phase.whole and selection.should_stop(history, settings.monitor, settings.patience, phase.start)
    return stopped or len(history) >= phase.end


def _set_trainable(layers: list[Any], trainable: bool) -> None:
    for layer in layers:
        layer.trainable = trainable


def is_head(layer: Any) -> bool:
    """Whether a layer belongs to the classifier on top, by its name (`dense_1`, ..., `logit`)."""
    return bool(layer.name == "logit" or layer.name.startswith("dense_"))


def class_weights(labels: np.ndarray) -> dict[int, float]:
    """Weights that give both classes the same total; the mean weight over the samples is 1."""
    counts = np.bincount(labels.astype(int), minlength=2)
    return {value: len(labels) / (2.0 * max(1, counts[value])) for value in (0, 1)}


def validation_metrics(model: Any, validation: Samples, batch_size: int) -> dict[str, float]:
    """Exact accuracy, log loss (nats) and ROC AUC on validation samples, in inference mode."""
    logits = predict_logits(model, validation, batch_size)
    if not np.isfinite(logits).all():
        return {"val_accuracy": float("nan"), "val_loss": float("nan"), "val_auc": float("nan")}
    return {
        "val_accuracy": float(np.mean((logits > 0) == (validation.labels == 1))),
        "val_loss": float(log_loss(validation.labels, expit(logits), labels=[0, 1])),
        "val_auc": float(roc_auc_score(validation.labels, logits)),
    }


def _has_own_head(model: Any) -> bool:
    trainable = [layer for layer in model.layers if layer.trainable_variables]
    return any(is_head(layer) for layer in trainable) and not all(is_head(layer) for layer in trainable)


def compile_model(model: Any, settings: TrainConfig, steps: int, epochs: int) -> None:
    """Compiles a network for one phase of training.

    Args:
        model: Keras model with one logit (B, 1), its layers frozen as they will be trained.
        settings: how to train.
        steps: batches per epoch, at least 1.
        epochs: length of the phase.
    """
    model.compile(
        optimizer=build_optimizer(settings, model, steps, epochs),
        loss=keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
            keras.metrics.AUC(name="auc", from_logits=True),
        ],
        # XLA's CPU convolutions are slower than oneDNN's, and compiling InceptionV3 takes minutes.
        jit_compile=keras.backend.backend() == "jax",
    )


def reset_draws(model: Any, seed: int, epoch: int) -> None:
    """Sets every random layer's generator to a state that depends on (seed, layer, epoch) alone."""
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            value = seeding.derive_seed(seed, "draws", layer.name, epoch)
            generator.state.assign(np.array([value, 0], dtype="uint32"))
