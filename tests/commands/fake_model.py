"""A model whose answer is the size of the file, so that a row in the wrong place is seen; and `predict` with it.

python -m tests.commands.fake_model FOLDER OUT
"""

import sys
import time
import types
from pathlib import Path

import pandas as pd


class FakeModel:
    """Scores a file by its size; one that begins with `bad` cannot be scored."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds  # that a batch takes
        self.batches = []  # how many posters each had

    def predict(self, table):
        time.sleep(self.seconds)
        self.batches.append(len(table))
        rows = []
        for data in table["image"]:
            bad = data is None or data.startswith(b"bad")
            error = 'no image, "really"' if bad else None
            rows.append((None if bad else len(data) / 1000, None if bad else "Fresh", 0.5, error))
        columns = ["probability_fresh", "label", "threshold", "error"]
        return pd.DataFrame(rows, columns=columns, dtype=object)


def identity(uri, version=""):
    return {"model_id": f"m-{uri}", "model_uri": uri, "version": version, "settings": {"size": 32}}


def use_fake_model(monkeypatch):
    """Puts it in the place of every model that is loaded, and returns it."""
    model = FakeModel()
    monkeypatch.setattr("poster_ml.serving.load.load_poster_model", lambda uri: model)
    monkeypatch.setattr("poster_ml.serving.load.identify", lambda model, uri: identity(uri))
    monkeypatch.setattr("poster_ml.tracking.store.connect", lambda write=False: "0")
    return model


if __name__ == "__main__":  # in a second: without MLflow and Keras
    load, store, tracking = (types.ModuleType(name) for name in ("load", "store", "tracking"))
    load.load_poster_model = lambda uri: FakeModel(0.02)
    load.identify = lambda model, uri: identity(uri)
    load.read_metadata = store.experiment_name = store.shared_uri = store.store_folder = None
    store.connect = lambda: "0"
    store.needs_store = lambda model_uri: False
    tracking.__path__ = []
    sys.modules["poster_ml.serving.load"] = load
    sys.modules["poster_ml.tracking"], sys.modules["poster_ml.tracking.store"] = tracking, store
    import poster_ml.quiet

    poster_ml.quiet.load_keras = lambda: None
    from poster_ml.commands.predict import run_predict

    run_predict("m", [Path(sys.argv[1])], out=Path(sys.argv[2]), batch_size=16)
