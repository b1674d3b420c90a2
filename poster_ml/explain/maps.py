"""Class activation maps: CAM proper, Grad-CAM and HiResCAM, signed, from the logit.

Which one is faithful depends on the head. With global average pooling and one linear unit the logit
*is* the sum of the CAM over all places plus a bias, so CAM is exact. With global average pooling
and more dense layers the gradient at the pooled layer is the same at every place, Grad-CAM and
HiResCAM are one, and they add up to the logit as far as the head is piecewise linear. With a
flatten head each place has weights of its own; Grad-CAM averages them away and can light places the
network did not use, HiResCAM keeps them (Draelos & Carin 2020, arXiv:2011.08891).
"""

from __future__ import annotations

import keras
import numpy as np

from poster_ml.errors import ExplanationError
from poster_ml.explain.gradients import logit_and_gradient, padded_batches
from poster_ml.explain.graph import check_images, default_layer, head_layers, is_linear
from poster_ml.explain.placement import cell_axes, place_maps
from poster_ml.models.ensemble import ensemble_members

METHODS = ("auto", "cam", "gradcam", "hirescam")


class Explainer:
    """Draws maps of one model; build it once, since its graph is compiled on the first call.

    Sources: CAM: Zhou et al. 2016 (arXiv:1512.04150), eq. 2. Grad-CAM: Selvaraju et al. 2017
    (arXiv:1610.02391), eq. 1-2, without the final ReLU. HiResCAM: Draelos & Carin 2020 (arXiv:2011.08891).

    Args:
        model: Keras model with one logit (B, 1); read only. Later changes of its weights are seen.
        method: "cam", "gradcam", "hirescam", or "auto": CAM where it is defined, else Grad-CAM for a head of
            global average pooling and dense layers, else HiResCAM (the module's docstring says why).
        layer_name: a layer with output (B, h, w, K); "" takes the last convolution-like one.

    An ensemble of networks (`models.ensemble`) has no layer of its own to look at: its map is the
    sum of its members' maps, each times the member's factor, in units of the logit.

    Attributes: `model`; `method` and `layer_name`, as resolved; `how`, both in words.
    Raises: UnknownLayerError, listing the layers with 4-D output; ExplanationError for an unknown
        method, for "cam" where the head has none, or for a layer of an ensemble.
    """

    def __init__(self, model: keras.Model, *, method: str = "auto", layer_name: str = "") -> None:
        if method not in METHODS:
            raise ExplanationError(f"unknown map method {method!r}; use one of {', '.join(METHODS)}")
        self.model, self.method, self.layer_name = model, method, layer_name
        members = ensemble_members(model)
        self._members = [(Explainer(member, method=method), weight) for member, weight in members]
        if members:
            self.how = f"sum of the maps of {len(members)} networks"
            if layer_name:
                raise ExplanationError(
                    f"an ensemble of networks has no layer {layer_name!r} of its own; leave it out for the "
                    "sum of its members' maps, or explain one of its members"
                )
            return
        self._resolve()
        self.how = f"{self.method} at {self.layer_name}"

    def _resolve(self) -> None:
        """Chooses method and layer by the head, and makes what computes them."""
        head = head_layers(self.model)
        cam_layer = ""
        match head:
            case [keras.layers.Dense(units=1) as unit, keras.layers.GlobalAveragePooling2D(), pooled]:
                if is_linear(unit):
                    cam_layer, self._unit = pooled.name, unit
                    self._features = keras.Model(self.model.inputs[0], pooled.output)
        cam_fits = cam_layer != "" and self.layer_name in ("", cam_layer)
        if self.method == "cam" and not cam_fits:
            raise ExplanationError(
                "method 'cam' needs a head of global average pooling and one linear unit, and the layer that "
                f"is pooled ({cam_layer or 'this model has no such head'}); use 'gradcam' or 'hirescam'"
            )
        if self.method == "auto":
            averages = any(isinstance(layer, keras.layers.GlobalAveragePooling2D) for layer in head)
            self.method = "cam" if cam_fits else "gradcam" if averages else "hirescam"
        if self.method == "cam":
            self.layer_name = cam_layer
        else:
            self.layer_name = self.layer_name or default_layer(self.model)
            self._run = logit_and_gradient(self.model, self.layer_name)

    def explain(self, images: np.ndarray) -> np.ndarray:
        """Draws class activation maps: where the layer speaks for Fresh and where for Rotten.

        Args:
            images: (B, H, W, 3) uint8, as stored in a prepared dataset.

        Returns: (B, H, W) float32 in [-1, 1], positive for +logit (Fresh), negative for -logit
            (Rotten), each map divided by its own largest absolute value; an all-zero map stays
            zero. Never of the sigmoid: its gradient dies where the model is sure.
        Raises: ValueError with the shape received.
        """
        check_images(images)
        if len(images) == 0:
            return np.zeros(images.shape[:3], np.float32)
        maps = [self.contributions(chunk)[:count] for chunk, count in padded_batches(images)]
        return normalise(np.concatenate(maps))

    def contributions(self, images: np.ndarray) -> np.ndarray:
        """Draws maps (B, H, W) of one batch whose mean over the places is the part of the logit explained."""
        if self._members:
            return np.asarray(sum(weight * one.contributions(images) for one, weight in self._members))
        axes = cell_axes(self.model, self.layer_name)
        return place_maps(self._coarse(images), images.shape[1], images.shape[2], axes)

    def _coarse(self, images: np.ndarray) -> np.ndarray:
        """The same with one value per cell of the layer: (B, h, w)."""
        if self.method == "cam":
            kernel = np.asarray(keras.ops.convert_to_numpy(self._unit.kernel), np.float32)[:, 0]  # (K,)
            return np.asarray(self._features.predict_on_batch(images), np.float32) @ kernel
        activations, gradients, _ = self._run(images)  # (B, h, w, K)
        if self.method == "gradcam":
            gradients = gradients.mean(axis=(1, 2), keepdims=True)  # eq. 1 of Grad-CAM
        summed = (activations * gradients).sum(axis=-1)  # its sum, not its mean, is the part of the logit
        return np.asarray(summed * (summed.shape[1] * summed.shape[2]))


def normalise(maps: np.ndarray) -> np.ndarray:
    """Divides each (H, W) map by its own largest absolute value; a map of zeros stays zero."""
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return (maps / np.where(largest > 0, largest, 1)).astype(np.float32)
