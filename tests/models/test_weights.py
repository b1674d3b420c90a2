"""Weights from files and by download."""

import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.errors import WeightsError
from poster_ml.models.build import Architecture, build_model
from poster_ml.models.catalogue import FAMILIES
from tests.refusals import refusal

SHAPE = (32, 48, 3)
POSTERS = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")


@pytest.fixture(scope="module")
def mobile():
    """A headless MobileNetV2 with random weights, BatchNorm's statistics among them."""
    keras.utils.set_random_seed(0)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    generator = np.random.default_rng(0)
    for layer in backbone.layers:
        layer.set_weights([generator.uniform(0.1, 0.5, value.shape) for value in layer.get_weights()])
    return backbone


def features(model: keras.Model, posters: np.ndarray) -> np.ndarray:
    inner = keras.Model(model.input, model.get_layer("flatten").input)
    return ops.convert_to_numpy(inner(posters, training=False))


def save(backbone: keras.Model, path: Path) -> Path:
    (backbone.save_weights if path.name.endswith(".weights.h5") else backbone.save)(path)
    return path


def build(family: str, path: object, shape: tuple[int, int, int] = SHAPE) -> keras.Model:
    return build_model(Architecture(family, shape, dense=()), weights=str(path))


def refused(path: Path) -> str:
    said = refusal(WeightsError, build, "mobilenet_v2", path, (32, 32, 3))
    assert said.startswith(f"weights file {path} ")
    return said.removeprefix(f"weights file {path} ")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_a_file_loads_to_the_backbones_output_and_into_no_other_family(mobile, tmp_path, suffix):
    path = save(mobile, tmp_path / f"mobile{suffix}")
    posters = POSTERS[:, :, :32]
    expected = ops.convert_to_numpy(mobile(posters / 127.5 - 1.0, training=False))
    found = features(build("mobilenet_v2", path, (32, 32, 3)), posters)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    said = refusal(WeightsError, build, "vgg16", path)
    assert said.startswith(f"weights file {path} does not fit vgg16 without its top (")
    assert said.endswith(
        "): give the file vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5, one of Keras 3 named .weights.h5, "
        "or choose another model"
    )


def test_what_is_no_weights_file_is_named_with_the_right_one(tmp_path):
    text, gone = tmp_path / "weights.txt", tmp_path / "nowhere.h5"
    text.write_text("not weights")
    for family, path, message in (
        (
            "vgg16", gone, f"no weights file {gone}: give 'imagenet', 'none' or an existing file "
            "(for vgg16: vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5)",
        ),
        ("vgg16", text, f"weights file {text} must end in .weights.h5 (Keras 3) or .h5 (older Keras), got '.txt'"),
        ("cnn", "/x.h5", "cnn has no backbone to load /x.h5 into"),
    ):  # fmt: skip
        assert refusal(WeightsError, build, family, path).startswith(message)


def test_half_a_download_and_damage_in_the_middle_are_named_as_such(mobile, tmp_path):
    path = save(mobile, tmp_path / "mobile.weights.h5")
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.9999):
        size = int(len(whole) * share)
        path.write_bytes(whole[:size])
        assert refused(path) == f"is {'cut off' if share else 'empty'}: download it again ({size:,} bytes)"
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    assert "is not HDF5 or damaged (" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89HDF", "is cut off: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "is a Git LFS pointer: fetch"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page: open it to see"),
        (b"PK\x03\x04" + b"x" * 996, "is not HDF5 or damaged ("),
    ],
)
def test_what_was_saved_in_the_place_of_a_file_is_named(tmp_path, content, said):
    path = tmp_path / "saved.h5"
    path.write_bytes(content)
    assert refused(path).startswith(said)
    assert refused(path).endswith(f"({len(content):,} bytes)")


@pytest.mark.parametrize(("suffix", "value"), [(".weights.h5", np.nan), (".h5", np.inf)])
def test_nan_and_infinity_are_refused_with_the_layer(mobile, tmp_path, suffix, value):
    """Left in, they make every output NaN, which looks as if the training had diverged."""
    layer = mobile.get_layer("block_3_depthwise")
    good = layer.get_weights()
    kernel = good[0].copy()
    kernel[1, 1, :5] = value
    layer.set_weights([kernel])
    path = save(mobile, tmp_path / f"broken{suffix}")
    layer.set_weights(good)
    assert refused(path) == "holds NaN or infinity in layer 'block_3_depthwise': download it again"


def test_a_failed_download_names_the_file_to_fetch(monkeypatch, capsys):
    def fail(**_):
        print("Downloading data from somewhere")
        raise Exception("URL fetch failure: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    assert refusal(WeightsError, build_model, Architecture("vgg16", SHAPE)) == (
        "ImageNet weights for vgg16 could not be downloaded (URL fetch failure: None -- [Errno -2] Name or service "
        "not known): get the file vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 on a machine with internet "
        "(Keras puts it into ~/.keras/models) and pass it with --weights FILE, or start from random weights with "
        "--weights none"
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["vgg16", "inception_v3", "inception_resnet_v2"])
def test_keras_downloads_the_file_that_we_name(name):
    """Read off Keras' source: to ask for it, Keras would first build the network."""
    source = inspect.getsource(inspect.getmodule(getattr(keras.applications, FAMILIES[name].application)))
    spoken = "".join(re.findall(r'"([^"]*)"', source))  # the literals, joined where the source breaks them
    assert FAMILIES[name].weights_file in spoken


@pytest.mark.real
def test_real_partial_inception_is_cut_where_it_is_exact(real_weights):
    path = real_weights / "inception_v3_2015_notop_partial.weights.h5"
    model = build_model(
        Architecture("inception_v3", (96, 112, 3), output_layer="mixed8", dense=()), weights=str(path)
    )
    posters = np.random.default_rng(0).integers(0, 256, (1, 96, 112, 3)).astype("uint8")
    values = features(model, posters)
    assert values.shape[-1] == 1280
    assert (values.max(axis=(0, 1, 2)) > 0).mean() > 0.3
    assert "mixed9" not in [layer.name for layer in model.layers]
