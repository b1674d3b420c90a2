"""Class activation maps: CAM proper, Grad-CAM and HiResCAM, signed, from the logit.

Which one is faithful depends on the head. With global average pooling and one linear unit the logit *is* the
sum of the CAM over all places plus a bias, so CAM is exact. With global average pooling and more dense layers
the gradient at the pooled layer is the same at every place, Grad-CAM and HiResCAM are one, and they add up to
the logit as far as the head is piecewise linear. With a flatten head each place has weights of its own;
Grad-CAM averages them away and can light places the network did not use, HiResCAM keeps them (Draelos & Carin
2020, arXiv:2011.08891).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from PIL import Image

from poster_ml.errors import ExplanationError
from poster_ml.explain.gradients import logit_and_gradient, padded_batches
from poster_ml.explain.graph import (
    check_images,
    default_layer,
    find_layer,
    functional_view,
    has_average_pooling_head,
    linear_head,
)
from poster_ml.explain.placement import cell_axes, place_maps
from poster_ml.models.ensemble import ensemble_members

METHODS = ("auto", "cam", "gradcam", "hirescam")


class Explainer:
    """Draws maps of one model; build it once, since its graph is compiled on the first call.

    Args:
        model: Keras model with one logit (B, 1); read only. Later changes of its weights are seen.
        method: "cam", "gradcam", "hirescam", or "auto": CAM where it is defined, else Grad-CAM for a head of
            global average pooling and dense layers, else HiResCAM (the module's docstring says why).
        layer_name: a layer with output (B, h, w, K); "" takes the last convolution-like one.

    An ensemble of networks (`models.ensemble`) has no layer of its own to look at: its map is the sum of its
    members' maps, each times the member's factor, in units of the logit.

    Attributes: `method` and `layer_name`, as resolved; `how`, both in words.
    Raises: UnknownLayerError, listing the layers with 4-D output; ExplanationError for an unknown
        method, for "cam" where the head has none, or for a layer of an ensemble.
    """

    def __init__(self, model: keras.Model, *, method: str = "auto", layer_name: str = "") -> None:
        if method not in METHODS:
            raise ExplanationError(f"unknown map method {method!r}; use one of {', '.join(METHODS)}")
        members = ensemble_members(model)
        if members and layer_name:
            raise ExplanationError(
                f"an ensemble of networks has no layer {layer_name!r} of its own; leave it out for the sum "
                "of its members' maps, or explain one of its members"
            )
        self._members = [(Explainer(member, method=method), weight) for member, weight in members]
        if members:
            self.method, self.layer_name = method, ""
            self.how = f"sum of the maps of {len(members)} networks"
            return
        if layer_name:
            find_layer(model, layer_name)
        head = linear_head(model)
        self.method, self.layer_name = _resolve(model, method, layer_name, head)
        self.how = f"{self.method} at {self.layer_name}"
        self._model = model
        if head is not None and self.method == "cam":
            self._features, self._dense = functional_view(model, head[0].output), head[1]
        else:
            self._run = logit_and_gradient(model, self.layer_name)

    def explain(
        self, images: np.ndarray, *, target: int = 1, signed: bool = True, batch_size: int = 16
    ) -> np.ndarray:
        """Draws one map per image; arguments, result and errors as for `explain_images`."""
        check_images(images)
        if target not in (0, 1):
            raise ValueError(f"target must be 1 (Fresh) or 0 (Rotten), got {target=}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size=}")
        maps = self._contributions(images, batch_size) * np.float32(1 if target == 1 else -1)
        return normalise(maps if signed else np.maximum(maps, 0))

    def _contributions(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Maps (B, H, W) whose mean over the places is the part of the logit that they explain."""
        height, width = images.shape[1:3]
        if self._members:
            parts = [weight * one._contributions(images, batch_size) for one, weight in self._members]
            return np.asarray(np.sum(parts, axis=0), np.float32)
        if self.method == "cam":
            return self._placed(self._cam(images, batch_size), height, width)
        coarse = self._weighted(images, batch_size)  # its sum, not its mean, is that part
        return self._placed(coarse * (coarse.shape[1] * coarse.shape[2]), height, width)

    def _placed(self, maps: np.ndarray, height: int, width: int) -> np.ndarray:
        """Lays maps (B, h, w) where their cells look; evenly over the picture where that is not known."""
        axes = cell_axes(self._model, self.layer_name)
        return resize_maps(maps, height, width) if axes is None else place_maps(maps, height, width, axes)

    def _cam(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        kernel = np.asarray(keras.ops.convert_to_numpy(self._dense.kernel), np.float32)[:, 0]  # (K,)
        parts = [
            np.asarray(self._features.predict_on_batch(chunk), np.float32)[:count] @ kernel
            for chunk, count in padded_batches(images, batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 1, 1), np.float32)

    def _weighted(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        parts = []
        # One batch at a time: activations of a wide layer are far larger than the map they become.
        for chunk, count in padded_batches(images, batch_size):
            activations, gradients, _ = self._run(chunk)  # (b, h, w, K)
            if self.method == "gradcam":
                gradients = gradients.mean(axis=(1, 2), keepdims=True)  # eq. 1 of Grad-CAM
            parts.append((activations * gradients).sum(axis=-1)[:count])
        return np.concatenate(parts) if parts else np.zeros((0, 1, 1), np.float32)


def explain_images(
    model: keras.Model,
    images: np.ndarray,
    *,
    method: str = "auto",
    layer_name: str = "",
    target: int = 1,
    signed: bool = True,
    batch_size: int = 16,
) -> np.ndarray:
    """Class activation maps: where a convolution layer speaks for one class.

    Sources: CAM: Zhou et al. 2016 (arXiv:1512.04150), eq. 2. Grad-CAM: Selvaraju et al. 2017
    (arXiv:1610.02391), eq. 1-2, without the final ReLU when `signed`. HiResCAM: Draelos & Carin 2020
    (arXiv:2011.08891).

    Args:
        model: Keras model with one logit (B, 1); read only.
        images: (B, H, W, 3) uint8, as stored in a prepared dataset.
        method: "cam", "gradcam", "hirescam" or "auto", see `Explainer`.
        layer_name: a layer with output (B, h, w, K); "" takes the last convolution-like one.
        target: 1 explains +logit (Fresh), 0 explains -logit (Rotten). Never the sigmoid: its gradient dies
            where the model is sure.
        signed: keep what speaks against the target, as negative values; else it becomes 0.
        batch_size: posters per pass, at least 1.

    Returns: (B, H, W) float32; signed maps in [-1, 1], unsigned in [0, 1], each divided by its own maximum
        (of the absolute values); an all-zero map stays zero.
    Raises: UnknownLayerError, listing the layers with 4-D output; ExplanationError for an unknown method, or
        for "cam" where the head has no CAM; ValueError with the shape received.
    """
    explainer = Explainer(model, method=method, layer_name=layer_name)
    return explainer.explain(images, target=target, signed=signed, batch_size=batch_size)


def resize_maps(
    maps: np.ndarray, height: int, width: int, kind: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Resizes (B, h, w) maps to (B, height, width) float32, bilinear by default, pixel centres aligned."""
    resized = [
        np.asarray(Image.fromarray(one).resize((width, height), kind))
        for one in np.ascontiguousarray(maps, dtype=np.float32)
    ]
    return np.stack(resized) if resized else np.zeros((0, height, width), np.float32)


def normalise(maps: np.ndarray) -> np.ndarray:
    """Divides each (H, W) map by its own largest absolute value; a map of zeros stays zero."""
    if len(maps) == 0:
        return maps.astype(np.float32)
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return (maps / np.where(largest > 0, largest, 1)).astype(np.float32)


def _resolve(model: keras.Model, method: str, layer_name: str, head: Any) -> tuple[str, str]:
    """Returns the method and layer that are used."""
    cam_layer = head[0].name if head is not None else None
    cam_fits = head is not None and layer_name in ("", cam_layer)
    if method == "cam" and not cam_fits:
        if head is None:
            raise ExplanationError(
                "method 'cam' needs a head of global average pooling and one linear unit, which this model "
                "does not have; use 'gradcam' or 'hirescam'"
            )
        raise ExplanationError(
            f"method 'cam' is defined at layer {cam_layer!r} only, got {layer_name!r}; "
            "leave the layer out, or use 'gradcam' or 'hirescam'"
        )
    if method == "auto":
        method = "cam" if cam_fits else "gradcam" if has_average_pooling_head(model) else "hirescam"
    if method == "cam":
        return method, str(cam_layer)
    return method, layer_name or default_layer(model)
