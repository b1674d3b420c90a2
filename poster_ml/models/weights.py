"""Initial weights of a backbone: ImageNet by download, a file, or none."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from poster_ml.errors import WeightsError
from poster_ml.models.catalogue import FAMILIES
from poster_ml.models.family import Family

SUFFIXES = (".h5", ".hdf5")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
SMALLEST_HDF5 = 48  # bytes of the shortest superblock
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def build_weighted_backbone(family: Family, input_shape: tuple[int, int, int], weights: str) -> Any:
    """Builds a headless backbone and gives it its initial weights.

    Args:
        family: one with a backbone.
        input_shape: (H, W, 3).
        weights: "imagenet" (downloaded once by Keras into its own cache), "none" (random), or a file:
            `.weights.h5` of Keras 3 or `.h5` of the older format, for the network without its top.

    Returns: a Keras model with preprocessed input (B, H, W, 3) and output (B, h, w, K).

    Raises: WeightsError where the weights can't be had, or that says what the file holds (another network,
        half a download, NaN in a named layer).
    """
    if family.build_backbone is None:
        raise ValueError(f"a family with a backbone is needed; received {family.name=}")
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
        raise WeightsError(_misfit(family, path)) from error
    _check_finite(backbone, path)
    return backbone


def _download(family: Family, input_shape: tuple[int, int, int]) -> Any:
    assert family.build_backbone is not None
    try:
        with _patient_download():
            return family.build_backbone(input_shape, "imagenet")
    except Exception as error:  # Keras turns every network failure into a bare Exception
        detail = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"ImageNet weights for {family.name} could not be downloaded ({detail}): get the file "
            f"{family.weights_file} on a machine with internet (Keras puts it into ~/.keras/models) and "
            f"pass it with --weights FILE, or start from random weights with --weights none"
        ) from error


@contextlib.contextmanager
def _patient_download() -> Iterator[None]:
    """Keeps Keras' progress off stdout, which is for results, and gives up on a dead connection."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
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
        raise WeightsError(f"weights file {path} {fault}")
    if _contents(path)[1] < family.parameters:
        raise WeightsError(_misfit(family, path))


def _damage(path: Path) -> str:
    """Says what is wrong with a file that is no whole HDF5 file, empty where it is one."""
    with path.open("rb") as handle:
        start = handle.read(512)
    again = f"download it again ({path.stat().st_size:,} bytes received)"
    if not h5py.is_hdf5(path) or len(start) < SMALLEST_HDF5:
        return _instead_of_hdf5(start, again)
    try:
        _contents(path)
    except Exception as error:  # HDF5 raises whatever it stumbles on
        ends = re.search(r"truncated file: eof = (\d+).* stored_eof = (\d+)", str(error))
        if ends is None:
            return f"is damaged ({' '.join(str(error).split())[:200]}): {again}"
        return f"is cut off: {int(ends[1]):,} bytes of {int(ends[2]):,}; download it again"
    return ""


def _instead_of_hdf5(start: bytes, again: str) -> str:
    """Says what stands in the place of an HDF5 file, by its first bytes."""
    if not start:
        return "is empty: download it again"
    if start.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the file that it stands for: fetch that with 'git lfs pull'"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"is a web page, not HDF5: open it to see what the server said, then {again}"
    if start[: len(HDF5_SIGNATURE)] == HDF5_SIGNATURE[: len(start)]:
        return f"is cut off: {again}"
    return f"is not HDF5: {again}"


def _check_finite(backbone: Any, path: Path) -> None:
    """Refuses weights that would make every output NaN; training would look as if it had diverged."""
    for layer in backbone.layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            wrong = value.size - np.count_nonzero(np.isfinite(value))
            if wrong:
                raise WeightsError(
                    f"weights file {path} holds NaN or infinity in layer {layer.name!r}: {wrong:,} of "
                    f"{value.size:,} values of its {variable.name}; the file is damaged: download it again"
                )


def _misfit(family: Family, path: Path) -> str:
    kernels, parameters = _contents(path)
    if parameters == family.parameters:
        return (
            f"weights file {path} holds as many parameters as {family.name} without its top, and cannot be "
            "read as its name says: the files of Keras 3 must end in .weights.h5, older ones in .h5"
        )
    matching = [other.name for other in FAMILIES.values() if other.parameters == parameters]
    guess = f", as {matching[0]} has" if matching else ""
    return (
        f"weights file {path} does not fit {family.name}: it holds {kernels} convolutions and "
        f"{parameters:,} parameters{guess}; {family.name} without its top has {family.parameters:,}: "
        f"give the file {family.weights_file} or choose another model"
    )


def _contents(path: Path) -> tuple[int, int]:
    """Returns the number of convolution kernels and of all parameters in a file."""
    shapes: list[tuple[int, ...]] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            shapes.append(item.shape)

    with h5py.File(path) as file:
        file.visititems(collect)
    return sum(len(shape) == 4 for shape in shapes), sum(math.prod(shape) for shape in shapes)
