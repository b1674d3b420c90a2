"""Keeping libraries from talking into the user's terminal."""

from __future__ import annotations

import logging
import os
import sys

LIBRARIES = ("mlflow", "alembic", "tensorflow", "absl", "optuna")


def quiet_libraries() -> None:
    """Lets libraries log errors only; what a user must know, poster-ml says itself."""
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)


def load_keras(*, find_devices: bool = True) -> None:
    """Imports Keras and its backend without the notes that TensorFlow's C++ side writes to stderr.

    They come before its log level is read (tried with TensorFlow 2.21: six lines per command, with
    TF_CPP_MIN_LOG_LEVEL=3), so nothing but the file descriptor itself can hold them back.

    Args:
        find_devices: False where other processes are to be joined first, which JAX must know before.
    """
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        import keras

        if find_devices:
            keras.ops.zeros(1)  # the first operation looks for them
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
