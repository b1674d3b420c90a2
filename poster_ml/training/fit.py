"""Fits a network: epochs, the best one kept, schedules, checkpoints, resume. Knows no mlflow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
        backbone = [layer for layer in model.layers if layer.trainable and not is_head(layer)]
        for phase in _phases(model, settings):
            if resumed_from >= phase.end or _is_over(history, settings, phase):
                continue
            for layer in backbone:
                layer.trainable = phase.whole
            batches = Batches(train, settings.batch_size, seed)
            compile_model(model, settings, len(batches), phase.end - phase.start)
            if phase.start < resumed_from:
                checkpoint.restore_state(model, arrays)
            elif arrays and resumed_from == phase.start:
                checkpoint.restore_weights(model, arrays)
            score = partial(validation_metrics, scorer or model, validation, settings.batch_size)
            model.fit(
                batches,
                initial_epoch=max(phase.start, resumed_from),
                epochs=phase.end,
                shuffle=False,
                verbose=0,
                callbacks=[
                    _TrainingCallback(
                        batches, score, settings, seed, phase, folder, identity, history, on_epoch
                    )
                ],
                class_weight=class_weights(train.labels) if settings.class_weight == "balanced" else None,
            )
        for layer in backbone:
            layer.trainable = True
        return FitResult(history, checkpoint.restore_best(folder, model), resumed_from)


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
    """Whether patience is at its end; never during the warm-up of the head."""
    return phase.whole and selection.should_stop(history, settings.monitor, settings.patience, phase.start)


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


@dataclass(eq=False)
class _TrainingCallback(keras.callbacks.Callback):
    """Everything that happens around an epoch, in one visible order."""

    batches: Batches
    score: Callable[[], dict[str, float]]
    settings: TrainConfig
    seed: int
    phase: _Phase
    folder: Path  # of the checkpoints
    identity: str
    history: list[dict[str, float]]  # grows
    on_epoch: OnEpoch | None

    def __post_init__(self) -> None:
        """Lays down the order of the first epoch."""
        super().__init__()
        self.raw: list[tuple[Any, np.ndarray]] = []
        self.batches.set_epoch(len(self.history))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Draws and rates that depend on (seed, epoch) alone."""
        self.started = time.perf_counter()
        reset_draws(self.model, self.seed, epoch)
        if self.settings.schedule == "plateau":
            losses = [past["val_loss"] for past in self.history]
            self.model.optimizer.learning_rate = plateau_rate(self.settings, losses)
        description = f"epoch {epoch + 1}/{self.settings.epochs}"
        self.bar = progress_bar(len(self.batches), description, brief=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Shows how far the epoch is."""
        self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Scores, keeps, saves, calls `on_epoch`; in this order, so a kill loses at most one epoch."""
        self.bar.close()
        seconds = time.perf_counter() - self.started
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        metrics["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        metrics["epoch_seconds"] = seconds
        metrics["images_per_second"] = len(self.batches.samples) / seconds
        self.raw = self._average_weights()
        metrics |= self.score()
        self.history.append(metrics)
        best = selection.best_epoch(self.history, self.settings.monitor) if self.settings.keep_best else epoch
        if best == epoch:
            checkpoint.save_best(self.folder, self.model, epoch + 1)
        self._restore_raw()
        checkpoint.save_state(self.folder, self.model, self.history, self.identity, best + 1)
        logger.info(
            f"epoch {epoch + 1:>3}/{self.settings.epochs}  loss {metrics['loss']:.4f}  "
            f"accuracy {metrics['accuracy']:.3f}  val_loss {metrics['val_loss']:.4f}  "
            f"val_accuracy {metrics['val_accuracy']:.3f}  val_auc {metrics['val_auc']:.3f}  "
            f"{seconds:.1f} s"
        )
        self.batches.set_epoch(epoch + 1)
        self.model.stop_training = _is_over(self.history, self.settings, self.phase)
        if self.on_epoch is not None:
            self.on_epoch(epoch + 1, metrics)

    def on_train_end(self, logs: Any = None) -> None:
        """Undoes the averaging that Keras ends `fit` with: a resumed run would not start from there."""
        self._restore_raw()

    def _restore_raw(self) -> None:
        for variable, value in self.raw:
            variable.assign(value)

    def _average_weights(self) -> list[tuple[Any, np.ndarray]]:
        """Puts the averaged weights into the network, where asked for; returns those they replace."""
        if self.settings.ema_momentum == 0:
            return []
        trainable = self.model.trainable_variables
        raw = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in trainable]
        self.model.optimizer.finalize_variable_values(trainable)
        for variable in trainable:
            # On JAX the average and the weight are now one buffer, which the next step would give away twice.
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)))
        return raw


def reset_draws(model: Any, seed: int, epoch: int) -> None:
    """Sets every random layer's generator to a state that depends on (seed, layer, epoch) alone."""
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            value = seeding.derive_seed(seed, "draws", layer.name, epoch)
            generator.state.assign(np.array([value, 0], dtype="uint32"))
