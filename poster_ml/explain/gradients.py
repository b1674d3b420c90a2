"""Activations of a layer and the logit's gradient at it, on the TensorFlow, JAX and PyTorch backends.

A network is not cut in two: a probe of zeros is added to the layer's output on the way through the graph, and
the gradient at the probe is the gradient at the layer. So it does not matter whether other branches go around
the layer (as in an Inception block), whether the layers are frozen, or that the input is uint8.
The forward part before the probe keeps nothing for the backward pass on TensorFlow and JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from poster_ml.explain.graph import check_images, find_layer

Step = Callable[[np.ndarray, np.ndarray], tuple[Any, Any, Any]]
BATCH_SIZE = 16  # posters at once: activations of a wide layer are far larger than the map they become
LogitAndGradient = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class _Probed(keras.layers.Layer):
    """The network's forward pass with a probe (B, h, w, K) added to one layer's output.

    A layer of its own, so that `training=False` and JAX's stateless call reach every layer of the network.
    """

    def __init__(self, network: keras.Model, layer: keras.layers.Layer) -> None:
        super().__init__(name="probed_network", dtype="float32", autocast=False)
        self.network = network
        self.probed = layer
        self.built = True

    def call(self, images: Any, probe: Any, training: bool = False) -> tuple[Any, Any]:
        """Returns the activations (B, h, w, K), probe included, and the logits (B,), both float32."""
        seen: list[Any] = []

        def with_probe(operation: Any) -> Any:
            if operation is not self.probed:
                return operation

            def call_and_add(*arguments: Any, **options: Any) -> Any:
                output = operation(*arguments, **options)
                seen.append(output + keras.ops.cast(probe, output.dtype))
                return seen[-1]

            return call_and_add

        # Keras has no public way to change a value inside a functional graph without adding nodes to the
        # caller's layers; tests/explain/test_gradients.py fails should this method change.
        outputs = self.network._run_through_graph([images], operation_fn=with_probe)
        logit = outputs[0] if isinstance(outputs, list | tuple) else outputs
        (activations,) = seen  # a layer that is called twice has no one gradient
        return keras.ops.cast(activations, "float32"), keras.ops.cast(logit, "float32")[:, 0]


def logit_and_gradient(model: keras.Model, layer_name: str) -> LogitAndGradient:
    """Builds the function that gives a layer's activations and the logit's gradient there.

    Build it once and call it often: it is compiled on the first call.

    Args:
        model: Keras model from uint8 (B, H, W, 3), H and W fixed, to one logit (B, 1); read only.
            Later changes of its weights are seen.
        layer_name: a layer with output (B, h, w, K), dominating the output or not.

    Returns: callable(images (B, H, W, 3) uint8) -> (activations (B, h, w, K), gradients (B, h, w,
        K), logits (B,)), NumPy float32, in one pass, in inference mode.
    Raises: UnknownLayerError, listing the layers with 4-D output; ValueError with what was received.
    """
    layer = find_layer(model, layer_name)
    # A view of its own; the input alone, not in a list: PyTorch's backend warns of another structure.
    probed = _Probed(keras.Model(model.inputs[0], model.outputs), layer)
    makers = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}
    step = makers[keras.backend.backend()](probed)

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        check_images(images)
        probe = np.zeros((len(images), *layer.output.shape[1:]), np.float32)
        activations, gradients, logits = step(images, probe)
        convert = keras.ops.convert_to_numpy
        return convert(activations), convert(gradients), convert(logits)

    return run


def padded_batches(images: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (batch, number of real rows); a short last batch is filled up, so that nothing is recompiled."""
    for start in range(0, len(images), BATCH_SIZE):
        chunk = np.asarray(images[start : start + BATCH_SIZE])
        count = len(chunk)
        if count < BATCH_SIZE < len(images):
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], BATCH_SIZE - count, axis=0)])
        yield chunk, count


def _tensorflow_step(probed: _Probed) -> Step:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def step(images: Any, probe: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(probe)
            activations, logits = probed(images, probe, training=False)
            total = tf.reduce_sum(logits)  # posters do not mix in inference mode: row b is d logit_b
        gradients = tape.gradient(total, probe, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return activations, gradients, logits

    return lambda images, probe: step(tf.convert_to_tensor(images), tf.convert_to_tensor(probe))


def _jax_step(probed: _Probed) -> Step:
    import jax

    def total(probe: Any, images: Any, trainable: Any, fixed: Any) -> tuple[Any, tuple[Any, Any]]:
        outputs, _ = probed.stateless_call(trainable, fixed, images, probe, training=False)
        activations, logits = outputs
        return logits.sum(), (activations, logits)

    compiled = jax.jit(jax.grad(total, has_aux=True))

    def step(images: np.ndarray, probe: np.ndarray) -> tuple[Any, Any, Any]:
        trainable = [variable.value for variable in probed.trainable_variables]
        fixed = [variable.value for variable in probed.non_trainable_variables]
        gradients, (activations, logits) = compiled(probe, images, trainable, fixed)
        return activations, gradients, logits

    return step


def _torch_step(probed: _Probed) -> Step:
    import torch

    def step(images: np.ndarray, probe: np.ndarray) -> tuple[Any, Any, Any]:
        zeros = keras.ops.convert_to_tensor(probe).requires_grad_(True)
        with torch.enable_grad():
            activations, logits = probed(keras.ops.convert_to_tensor(images), zeros, training=False)
            (gradients,) = torch.autograd.grad(logits.sum(), zeros)
        return activations.detach(), gradients, logits.detach()

    return step
