"""The same code on TensorFlow and JAX: the contract tests run on both, and the numbers agree."""

import re

import keras
import numpy as np
import pytest

from poster_ml.models.build import Architecture, build_model
from poster_ml.models.catalogue import FAMILIES
from tests.programs import QUICK_COMPILER, run_python

SIZE = 80
BUILD = {"input_shape": (SIZE, SIZE, 3), "pooling": "average", "dense": (8,)}
# The deepest ends where the second of its three kinds of block begins: the rest takes longest.
OUTPUT = dict.fromkeys(FAMILIES, "") | {"inception_resnet_v2": "block17_1_ac"}
POSTERS = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype("uint8")

# What a backend could get wrong, in little: augmentation, a whole family, batches, rates, maps, and runs
# that are stopped and taken up, also where the warm-up of the head ends and with averaged weights.
SUBSET = [
    "tests/contracts/test_augment.py",
    "tests/contracts/test_models.py",
    "tests/explain/test_gradients.py",
    "tests/explain/test_maps.py",
    "tests/training/test_batches.py",
    "tests/training/test_fit.py",
]
CHOSEN = (
    "(test_augment and (changes or repeats)) or (test_models and cnn and (bytes or moves or saving)) "
    "or test_gradients or test_maps or test_batches or plain or warmed or test_averaged"
)

# One process for all of it: importing JAX and compiling for it takes longer than what is computed.
ON_JAX = f"""
import sys
from pathlib import Path
import keras
import numpy as np
import pytest
from poster_ml.models.build import Architecture, build_model
assert keras.backend.backend() == "jax"
assert pytest.main([*{SUBSET!r}, "-k", {CHOSEN!r}, "-p", "no:cacheprovider"]) == 0
# Drawing weights that are replaced at once would cost a compilation per shape: most of a minute.
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: np.zeros(shape, "float32")
keras.initializers.RandomNormal.__call__ = keras.initializers.VarianceScaling.__call__
folder = Path(sys.argv[1])
for name, output in {OUTPUT!r}.items():
    model = build_model(Architecture(name, **{BUILD!r}, output_layer=output), weights="none")
    with np.load(folder / f"{{name}}.npz") as stored:
        model.set_weights([stored[key] for key in stored.files])
    logits = model.predict_on_batch(np.load(folder / "posters.npy"))
    np.save(folder / f"{{name}}.npy", np.asarray(logits))
"""


@pytest.mark.timeout(1200)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="starts the other backend itself")
def test_the_contract_tests_pass_on_jax_and_the_same_weights_give_the_same_logits(tmp_path):
    pytest.importorskip("jax")
    np.save(tmp_path / "posters.npy", POSTERS)
    expected = {}
    for name, output in OUTPUT.items():
        model = build_model(Architecture(name, **BUILD, output_layer=output), weights="none")
        np.savez(tmp_path / f"{name}.npz", *model.get_weights())
        expected[name] = model.predict_on_batch(POSTERS)
        del model
    jax = {"KERAS_BACKEND": "jax", "XLA_FLAGS": QUICK_COMPILER}
    done = run_python("-c", ON_JAX, tmp_path, timeout=1100, **jax)
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 40
    for name, logits in expected.items():
        scale = np.abs(logits).max()
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), logits, rtol=1e-4, atol=1e-4 * scale)
    assert len(expected) == 5
