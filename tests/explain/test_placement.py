import keras
import numpy as np
import pytest

from poster_ml.explain.maps import Explainer
from poster_ml.explain.placement import Axis, cell_axes

LAYERS = keras.layers


def network(*layers: keras.layers.Layer, size: tuple[int, int] = (64, 48)) -> keras.Model:
    image = tensor = keras.Input((*size, 3), dtype="uint8")
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(image, tensor)


def seen_centre(model: keras.Model, name: str, cell: tuple[int, int]) -> tuple[float, float]:
    """The middle of the pixels that a cell depends on, by trying every row and column."""
    part = keras.Model(model.inputs, model.get_layer(name).output)
    height, width = model.input_shape[1:3]
    base = part.predict_on_batch(np.zeros((1, height, width, 3), np.uint8))[0, cell[0], cell[1]]
    found = []
    for side, shape in ((height, (-1, 1, 1)), (width, (1, -1, 1))):  # one row of 255, or one column, each
        lines = 255 * np.eye(side, dtype=np.uint8).reshape(side, *shape)
        pictures = np.broadcast_to(lines, (side, height, width, 3))
        changed = np.abs(part.predict_on_batch(pictures)[:, cell[0], cell[1]] - base).sum(axis=-1) > 1e-9
        places = np.flatnonzero(changed)
        found.append((places[0] + places[-1] + 1) / 2)
    return found[0], found[1]


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_cells_lie_where_they_look(padding):
    model = network(
        LAYERS.Rescaling(1 / 255),
        LAYERS.Conv2D(2, 3, padding=padding, kernel_initializer="ones"),
        LAYERS.AveragePooling2D(2, padding=padding),
        LAYERS.ZeroPadding2D(((0, 1), (2, 0))),
        LAYERS.Conv2D(2, (5, 3), strides=2, padding=padding, kernel_initializer="ones"),
        LAYERS.DepthwiseConv2D(3, padding=padding, depthwise_initializer="ones", name="last"),
    )
    axes = cell_axes(model, "last")
    for cell in ((3, 3), (4, 5)):  # inner ones: at the rim the border cuts what is seen
        centre = tuple(axis.start + place * axis.step for axis, place in zip(axes, cell, strict=True))
        assert centre == seen_centre(model, "last", cell)


def test_branches_are_followed_and_what_is_not_known_is_laid_evenly():
    image = keras.Input((32, 32, 3), dtype="uint8")
    stem = LAYERS.Conv2D(3, 3, strides=2)(LAYERS.Rescaling(1 / 255)(image))
    added = LAYERS.Add(name="sum")([stem, LAYERS.Conv2D(3, 3, padding="same")(stem)])
    model = keras.Model(image, LAYERS.UpSampling2D(2, name="up")(added))
    assert cell_axes(model, "sum") == (Axis(1.5, 2.0), Axis(1.5, 2.0))
    assert cell_axes(model, "up") == (Axis(32 / 60, 32 / 30), Axis(32 / 60, 32 / 30))


def test_a_map_of_an_unpadded_network_points_at_what_it_saw():
    model = network(
        LAYERS.Rescaling(1 / 255),
        LAYERS.Conv2D(1, 3, kernel_initializer="ones"),
        LAYERS.AveragePooling2D(2),
        LAYERS.Conv2D(1, 3, kernel_initializer="ones"),
        LAYERS.AveragePooling2D(2),
        LAYERS.Conv2D(1, 3, kernel_initializer="ones"),
        LAYERS.GlobalAveragePooling2D(),
        LAYERS.Dense(1, kernel_initializer="ones"),
        size=(40, 100),
    )
    spot = np.zeros((1, 40, 100, 3), np.uint8)
    spot[:, 17:21, 63:67] = 255
    found = Explainer(model).explain(spot)[0]
    weights = found / found.sum()
    centre = (weights.sum(axis=1) @ (np.arange(40) + 0.5), weights.sum(axis=0) @ (np.arange(100) + 0.5))
    # Stretched over the whole picture it would point at column 69.
    assert centre == (pytest.approx(19, abs=1.0), pytest.approx(65, abs=1.0))
