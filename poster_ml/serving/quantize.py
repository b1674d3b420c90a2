"""A quantized network for processors: the same graph with 8-bit weights and activations, run by LiteRT.

Source: Jacob et al. 2018 (arXiv:1712.05877), as TensorFlow's converter does it after training: the range of
every activation is measured on some posters of the training split. The file needs no Keras to run: where the
package `ai-edge-litert` is installed, not even TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from poster_ml.errors import RegistryError

CHUNK = 16  # posters per call of the larger interpreter; on two cores 402 posters/s against 282 one by one

Pixels = npt.NDArray[np.uint8]


class QuantizedNetwork:
    """Runs a quantized network; has of a Keras model what `PosterModel` calls.

    Args:
        content: a LiteRT (TFLite) file, uint8 (1, S, S, 3) to logit (1, 1).
        threads: of one pass, None for every core.

    Raises: RegistryError where the file is none.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        workers = threads or os.cpu_count() or 1
        # One interpreter per size: changing the size of one packs its weights anew.
        self.single = _Runner(content, 1, workers)
        self.many = _Runner(content, CHUNK, workers)
        self.lock = threading.Lock()

    def predict_on_batch(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Returns the logits, (B, 1) float32, of posters (B, S, S, 3) uint8; every poster by itself."""
        logits = np.empty((len(pixels), 1), dtype=np.float32)
        whole = len(pixels) - len(pixels) % CHUNK
        with self.lock:
            for start in range(0, whole, CHUNK):
                logits[start : start + CHUNK] = self.many.run(pixels[start : start + CHUNK])
            for place in range(whole, len(pixels)):
                logits[place] = self.single.run(pixels[place : place + 1])
        return logits


class _Runner:
    """One interpreter for batches of one size."""

    def __init__(self, content: bytes, count: int, threads: int) -> None:
        try:
            with warnings.catch_warnings():
                # TensorFlow points at ai-edge-litert, which is taken where it is installed.
                warnings.simplefilter("ignore", UserWarning)
                self.interpreter = _interpreter_class()(model_content=content, num_threads=threads)
            input = self.interpreter.get_input_details()[0]
            self.input = input["index"]
            self.output = self.interpreter.get_output_details()[0]["index"]
            self.interpreter.resize_tensor_input(self.input, [count, *input["shape"][1:]])
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError, IndexError) as error:
            detail = " ".join(str(error).split())[:200]
            raise RegistryError(f"the quantized network cannot be read ({detail}): make it again") from error

    def run(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        self.interpreter.set_tensor(self.input, np.ascontiguousarray(pixels))
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.output), dtype=np.float32)


def quantize_network(network: Any, posters: Pixels) -> bytes:
    """Quantises a network to 8 bits.

    Args:
        network: keras.Model, uint8 (B, S, S, 3) to logit (B, 1); read only.
        posters: (N, S, S, 3) uint8 of the training split, on which the ranges are measured; N from 100 on
            gives stable ranges.

    Returns: the content of a LiteRT file that takes uint8 and gives float32.
    Raises: RegistryError where Keras runs on another backend than TensorFlow, or an operation of the network
        cannot be converted.
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
        detail = " ".join(str(error).split())[:200]
        raise RegistryError(f"the network cannot be quantized ({type(error).__name__}: {detail})") from error


def runtime_requirements() -> tuple[str, ...]:
    """Returns the packages that a quantized model needs to run, the interpreter among them."""
    interpreter = "ai-edge-litert" if _has_litert() else "tensorflow"
    return ("mlflow", interpreter, "numpy", "pandas", "pillow", "scipy", "concurrent-log-handler", "filelock")


def _has_litert() -> bool:
    return importlib.util.find_spec("ai_edge_litert") is not None


def _interpreter_class() -> Any:
    if _has_litert():
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    import tensorflow as tf

    return tf.lite.Interpreter
