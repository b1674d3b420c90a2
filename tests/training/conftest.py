"""A task that a tiny network can learn."""

import numpy as np
import pytest

from poster_ml.training.batches import Samples


@pytest.fixture
def task():
    """96 training and 40 validation samples; the label is the sign of the first input, with some noise."""
    numbers = np.random.default_rng(0)
    images = numbers.normal(size=(136, 4)).astype("float32")
    labels = (images[:, 0] + 0.3 * numbers.normal(size=136) > 0).astype(int)
    return (
        Samples(images, np.arange(96), labels[:96]),
        Samples(images, np.arange(96, 136), labels[96:]),
    )
