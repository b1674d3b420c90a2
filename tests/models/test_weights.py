"""Weights from files and by download."""

from __future__ import annotations

import inspect
import re

import keras
import numpy as np
import pytest
from keras import ops

from poster_ml.errors import WeightsError
from poster_ml.models.architecture import Architecture
from poster_ml.models.build import build_model
from poster_ml.models.catalogue import FAMILIES

SHAPE = (32, 48, 3)
POSTERS = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")


@pytest.fixture(scope="module")
def mobile() -> keras.Model:
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


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_both_formats_load_to_the_backbones_output(mobile: keras.Model, tmp_path, suffix: str) -> None:
    path = tmp_path / f"mobile{suffix}"
    (mobile.save if suffix == ".h5" else mobile.save_weights)(path)
    model = build_model(Architecture("mobilenet_v2", (32, 32, 3), dense=()), weights=str(path))
    posters = POSTERS[:, :, :32]
    expected = mobile(posters / 127.5 - 1.0, training=False)
    np.testing.assert_allclose(features(model, posters), ops.convert_to_numpy(expected), rtol=1e-4)


def test_a_missing_file_names_the_right_one(tmp_path) -> None:
    with pytest.raises(WeightsError) as caught:
        build_model(Architecture("vgg16", SHAPE), weights=str(tmp_path / "nowhere.h5"))
    assert str(caught.value) == (
        f"no weights file {tmp_path}/nowhere.h5: give 'imagenet', 'none' or an existing file "
        "(for vgg16: vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5)"
    )


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_another_familys_file_is_refused(mobile: keras.Model, tmp_path, suffix: str) -> None:
    path = tmp_path / f"mobile{suffix}"
    (mobile.save if suffix == ".h5" else mobile.save_weights)(path)
    with pytest.raises(WeightsError) as caught:
        build_model(Architecture("vgg16", SHAPE), weights=str(path))
    message = str(caught.value)
    assert message.startswith(f"weights file {path} does not fit vgg16 without its top (")
    assert message.endswith(
        "): give the file vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5, one of Keras 3 named .weights.h5, "
        "or choose another model"
    )
    assert "\n" not in message


def test_files_that_are_no_weights(tmp_path) -> None:
    text = tmp_path / "weights.txt"
    text.write_text("not weights")
    with pytest.raises(
        WeightsError, match=r"must end in \.weights\.h5 \(Keras 3\) or \.h5 \(older Keras\), got '\.txt'$"
    ):
        build_model(Architecture("vgg16", SHAPE), weights=str(text))


@pytest.fixture(scope="module")
def whole(mobile: keras.Model, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "mobile.weights.h5"
    mobile.save_weights(path)
    return path.read_bytes()


def refusal(path) -> str:
    with pytest.raises(WeightsError) as caught:
        build_model(Architecture("mobilenet_v2", (32, 32, 3), dense=()), weights=str(path))
    message = str(caught.value)
    assert message.startswith(f"weights file {path} ")
    assert "\n" not in message
    return message.removeprefix(f"weights file {path} ")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9999])
def test_half_a_download_is_named_as_such(whole: bytes, tmp_path, share: float) -> None:
    path = tmp_path / "half.weights.h5"
    size = int(len(whole) * share)
    path.write_bytes(whole[:size])
    fault = "is cut off" if share else "is empty"
    assert refusal(path) == f"{fault}: download it again ({size:,} bytes)"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89HDF", "is cut off: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "is a Git LFS pointer: fetch"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page: open it to see"),
        (b"PK\x03\x04" + b"x" * 996, "is not HDF5 or damaged ("),
    ],
)
def test_what_was_saved_in_the_place_of_a_file_is_named(tmp_path, content: bytes, said: str) -> None:
    path = tmp_path / "saved.h5"
    path.write_bytes(content)
    assert refusal(path).startswith(said)
    assert refusal(path).endswith(f"({len(content):,} bytes)")


def test_damage_in_the_middle_is_no_misfit(whole: bytes, tmp_path) -> None:
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    assert "is not HDF5 or damaged (" in refusal(path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_with_the_layer(tmp_path, suffix: str, value: float) -> None:
    """Left in, they make every output NaN, which looks as if the training had diverged."""
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    layer = backbone.get_layer("block_3_depthwise")
    kernel = layer.get_weights()[0]
    kernel[1, 1, :5] = value
    layer.set_weights([kernel])
    path = tmp_path / f"broken{suffix}"
    (backbone.save if suffix == ".h5" else backbone.save_weights)(path)
    assert refusal(path) == "holds NaN or infinity in layer 'block_3_depthwise': download it again"


def test_a_failed_download_names_the_file_to_fetch(monkeypatch, capsys) -> None:
    def fail(**_):
        print("Downloading data from somewhere")
        raise Exception("URL fetch failure: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(WeightsError) as caught:
        build_model(Architecture("vgg16", SHAPE))
    assert str(caught.value) == (
        "ImageNet weights for vgg16 could not be downloaded (URL fetch failure: None -- [Errno -2] Name or service "
        "not known): get the file vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 on a machine with internet "
        "(Keras puts it into ~/.keras/models) and pass it with --weights FILE, or start from random weights with "
        "--weights none"
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["vgg16", "inception_v3", "inception_resnet_v2"])
def test_keras_downloads_the_file_that_we_name(name: str) -> None:
    """Read off Keras' source: to ask for it, Keras would first build the network."""
    source = inspect.getsource(inspect.getmodule(getattr(keras.applications, FAMILIES[name].application)))
    spoken = "".join(re.findall(r'"([^"]*)"', source))  # the literals, joined where the source breaks them
    assert FAMILIES[name].weights_file in spoken


def test_cnn_has_nothing_to_load_into(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"^cnn has no backbone to load /x\.h5 into"):
        build_model(Architecture("cnn", SHAPE), weights="/x.h5")


@pytest.mark.real
def test_real_partial_inception_is_cut_where_it_is_exact(real_weights) -> None:
    path = real_weights / "inception_v3_2015_notop_partial.weights.h5"
    model = build_model(
        Architecture("inception_v3", (96, 112, 3), output_layer="mixed8", dense=()), weights=str(path)
    )
    posters = np.random.default_rng(0).integers(0, 256, (1, 96, 112, 3)).astype("uint8")
    values = features(model, posters)
    assert values.shape[-1] == 1280
    assert (values.max(axis=(0, 1, 2)) > 0).mean() > 0.3
    assert "mixed9" not in [layer.name for layer in model.layers]
