"""Initial weights of a backbone: ImageNet by download, a file, or none."""

from __future__ import annotations

import contextlib
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from poster_ml.errors import WeightsError, one_line
from poster_ml.models.catalogue import Family

SUFFIXES = (".h5", ".hdf5")
WEB_PAGE = "is a web page: open it to see what the server said"
# What is found in the place of a weights file, by its first bytes.
IMPOSTORS = {
    b"version https://git-lfs": "is a Git LFS pointer: fetch the file that it stands for with 'git lfs pull'",
    b"<!doctype": WEB_PAGE,
    b"<html": WEB_PAGE,
    b"\x89hdf": "is cut off: download it again",
}


def build_weighted_backbone(family: Family, input_shape: tuple[int, int, int], weights: str) -> Any:
    """Builds a headless backbone and gives it its initial weights.

    Args:
        family: one with a backbone.
        input_shape: (H, W, 3).
        weights: "imagenet" (downloaded once by Keras into its own cache), "none" (random), or a file:
            `.weights.h5` of Keras 3 or `.h5` of the older format, for the network without its top.

    Returns: a Keras model with preprocessed input (B, H, W, 3) and output (B, h, w, K).

    Raises: WeightsError where the weights can't be had, or that says what is wrong with the file (another
        network, half a download, NaN in a named layer).
    """
    if weights == "imagenet":
        return _download(family, input_shape)
    if weights == "none":
        return family.build_backbone(input_shape, None)
    path = Path(weights)
    _check_file(family, path)
    backbone = family.build_backbone(input_shape, None)
    try:
        with warnings.catch_warnings():
            # Keras warns once per layer that it could not fill and then raises: one sentence is enough.
            warnings.simplefilter("ignore")
            backbone.load_weights(str(path))
    except Exception as error:  # Keras raises whatever its reader stumbles on
        raise WeightsError(
            f"weights file {path} does not fit {family.name} without its top ({one_line(error)}): give the "
            f"file {family.weights_file}, one of Keras 3 named .weights.h5, or choose another model"
        ) from error
    _check_finite(backbone, path)
    return backbone


def _download(family: Family, input_shape: tuple[int, int, int]) -> Any:
    """Lets Keras download; its progress stays off stdout, which is for results, and no connection hangs."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return family.build_backbone(input_shape, "imagenet")
    except Exception as error:  # Keras turns every network failure into a bare Exception
        raise WeightsError(
            f"ImageNet weights for {family.name} could not be downloaded ({one_line(error)}): get the file "
            f"{family.weights_file} on a machine with internet (Keras puts it into ~/.keras/models) and "
            f"pass it with --weights FILE, or start from random weights with --weights none"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _check_file(family: Family, path: Path) -> None:
    """Refuses what can be refused before a network is built."""
    if not path.is_file():
        raise WeightsError(
            f"no weights file {path}: give 'imagenet', 'none' or an existing file "
            f"(for {family.name}: {family.weights_file})"
        )
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"weights file {path} must end in .weights.h5 (Keras 3) or .h5 (older Keras), got {path.suffix!r}"
        )
    if fault := _damage(path):
        raise WeightsError(f"weights file {path} {fault} ({path.stat().st_size:,} bytes)")


def _damage(path: Path) -> str:
    """Says what is wrong with a file that cannot be opened as HDF5, empty where it can."""
    try:
        with h5py.File(path) as file:
            file.visititems(lambda name, item: None)
    except Exception as error:  # HDF5 raises whatever it stumbles on
        with path.open("rb") as handle:
            start = handle.read(512).lstrip().lower()
        if not start:
            return "is empty: download it again"
        named = [said for begin, said in IMPOSTORS.items() if start.startswith(begin)]
        if named and ("truncated" in str(error) or not h5py.is_hdf5(path)):
            return named[0]
        return f"is not HDF5 or damaged ({one_line(error)}): download it again"
    return ""


def _check_finite(backbone: Any, path: Path) -> None:
    """Refuses weights that would make every output NaN; training would look as if it had diverged."""
    for layer in backbone.layers:
        if not all(np.isfinite(value).all() for value in layer.get_weights()):
            raise WeightsError(
                f"weights file {path} holds NaN or infinity in layer {layer.name!r}: download it again"
            )
