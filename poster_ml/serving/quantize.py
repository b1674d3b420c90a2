"""A quantized network for processors: the same graph with 8-bit weights and activations, run by LiteRT.

Source: Jacob et al. 2018 (arXiv:1712.05877), as TensorFlow's converter does it after training: the
range of every activation is measured on some posters of the training split. The file needs no Keras
to run: where the package `ai-edge-litert` is installed, not even TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from poster_ml.errors import RegistryError, one_line
from poster_ml.serving.settings import SHARED_REQUIREMENTS

_REPEATS = 9
CHUNK = 16  # posters per call of the larger interpreter; on two cores 402 posters/s against 282 one by one

Pixels = npt.NDArray[np.uint8]


class QuantizedNetwork:
    """Runs a quantized network; has of a Keras model what `PosterModel` calls. One thread at a time.

    Args:
        content: a LiteRT (TFLite) file, uint8 (1, S, S, 3) to logit (1, 1).

    Raises: RegistryError where the file is none.
    """

    def __init__(self, content: bytes) -> None:
        # One interpreter per size: changing the size of one packs its weights anew.
        self.interpreters = {count: _interpreter(content, count) for count in (CHUNK, 1)}

    def predict_on_batch(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Returns the logits, (B, 1) float32, of posters (B, S, S, 3) uint8; every poster by itself."""
        logits = np.empty((len(pixels), 1), dtype=np.float32)
        start = 0
        while start < len(pixels):
            count = CHUNK if len(pixels) - start >= CHUNK else 1
            interpreter = self.interpreters[count]
            batch = np.ascontiguousarray(pixels[start : start + count])
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
            interpreter.invoke()
            output = interpreter.get_output_details()[0]["index"]
            logits[start : start + count] = interpreter.get_tensor(output)
            start += count
        return logits


def _interpreter(content: bytes, count: int) -> Any:
    """Returns what runs batches of one size."""
    try:
        with warnings.catch_warnings():
            # TensorFlow points at ai-edge-litert, which is taken where it is installed.
            warnings.simplefilter("ignore", UserWarning)
            interpreter = _interpreter_class()(model_content=content, num_threads=os.cpu_count() or 1)
        input = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(input["index"], [count, *input["shape"][1:]])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, IndexError) as error:
        raise RegistryError(
            f"the quantized network cannot be read ({one_line(error)}): make it again"
        ) from error
    return interpreter


def speed_ratio(network: Any, quantized: QuantizedNetwork, pixels: Pixels) -> float:
    """Returns how many times faster the quantized network is on these posters: median of pairs, in turns.

    Taking turns, both see the same load of the machine.
    """
    ratios = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        network.predict_on_batch(pixels)
        middle = time.perf_counter()
        quantized.predict_on_batch(pixels)
        ratios.append((middle - started) / (time.perf_counter() - middle))
    return float(np.median(ratios[1:]))  # the first pair warms both up


def quantize_network(network: Any, posters: Pixels) -> bytes:
    """Quantises a network to 8 bits.

    Args:
        network: keras.Model, uint8 (B, S, S, 3) to logit (B, 1); read only.
        posters: (N, S, S, 3) uint8 of the training split, on which the ranges are measured; N from
            100 on gives stable ranges.

    Returns: the content of a LiteRT file that takes uint8 and gives float32.
    Raises: RegistryError where Keras runs on another backend than TensorFlow, or an operation of
        the network cannot be converted.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RegistryError(
            f"quantized networks are made by TensorFlow, Keras runs on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec([None, *network.input_shape[1:]], tf.uint8)]
    graph = tf.function(lambda images: network(images, training=False), input_signature=signature)
    frozen = convert_variables_to_constants_v2(graph.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def representative() -> Iterator[list[Pixels]]:
        for poster in posters:
            yield [np.array(poster[None])]

    converter.representative_dataset = representative
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # says that uint8 input has no range of its own
            return bytes(converter.convert())
    except Exception as error:  # the converter raises nearly anything
        raise RegistryError(
            f"the network cannot be quantized ({type(error).__name__}: {one_line(error)})"
        ) from error


def runtime_requirements() -> tuple[str, ...]:
    """Returns the packages that a quantized model needs to run, the interpreter among them."""
    interpreter = "ai-edge-litert" if find_spec("ai_edge_litert") else "tensorflow"
    return ("mlflow", interpreter, *SHARED_REQUIREMENTS)


def _interpreter_class() -> Any:
    if find_spec("ai_edge_litert"):
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    import tensorflow as tf

    return tf.lite.Interpreter
