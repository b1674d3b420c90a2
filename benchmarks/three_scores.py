"""Poster, year + genres, and all of them: what each is worth, and whether the service says the same.

    poster-ml evaluate --run RUN_ID --split test
    python -m benchmarks.three_scores RUN_ID --data data/prepared

Takes the logged predictions of an evaluated split and prints the three scores with paired differences (DeLong
for ROC AUC, Student for log loss), the largest difference between them and what the logged model
answers for the same posters, what the pair share of `rank` promises on pairs of test movies against what
happened, in five bins of the difference, and how long one poster takes without and with year and genres.
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from PIL import Image

from benchmarks._measure import alternate, machine
from poster_ml.data.prepared import PreparedDataset
from poster_ml.evaluation.evidence import DesignPairs
from poster_ml.evaluation.metadata import genre_columns, years
from poster_ml.evaluation.stats import delong_difference, mean_interval
from poster_ml.serving.load import load_reference
from tests.pictures import encode

COLUMNS = {"poster": "probability", "metadata": "probability_metadata", "combined": "probability_combined"}
SERVED = COLUMNS | {"poster": "probability_fresh"}
CONFIDENCE = 0.95
BATCH = 64
BINS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", help="id of a training run that was evaluated on the split")
    parser.add_argument("--data", type=Path, default=Path("data/prepared"))
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    print(machine())
    uri = f"runs:/{arguments.run}/model"
    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{arguments.run}/evaluation/{arguments.split}"))
    predictions = pd.read_csv(folder / "predictions.csv", dtype={"movie_id": str, "genres": str})
    print(pd.read_csv(folder / "scores.csv").round(4).T.to_string(header=False))
    print_differences(predictions)
    dataset = PreparedDataset.open(arguments.data)
    rows = dataset.indices(arguments.split)
    files = [encode(Image.fromarray(np.asarray(dataset.images[row]))) for row in rows]
    pictures = [base64.b64encode(file).decode("ascii") for file in files]
    model = mlflow.pyfunc.load_model(uri)
    print_served(model, predictions, pictures)
    reference = load_reference(uri)
    if reference is not None:
        print_pairs(reference.pairs, predictions)
    plain = pd.DataFrame({"image": pictures[:1]})
    known = plain.assign(year=2010, genres="Drama")
    ways = {
        "one poster": lambda: model.predict(plain),
        "... with year and genres": lambda: model.predict(known),
    }
    for name, seconds in alternate(ways, 30).items():
        print(f"{name:<26} p50 {1000 * seconds:6.1f} ms")


def print_differences(predictions: pd.DataFrame) -> None:
    """Prints combined against each of the two, ROC AUC and log loss, paired on the same posters."""
    known = predictions[predictions["probability_combined"].notna()]
    labels = known["label"].to_numpy()
    loss = {name: _log_loss(labels, known[column].to_numpy()) for name, column in COLUMNS.items()}
    for first, second in (("combined", "metadata"), ("combined", "poster"), ("metadata", "poster")):
        auc, p_value = delong_difference(labels, known[COLUMNS[first]], known[COLUMNS[second]], CONFIDENCE)
        lost, _ = mean_interval(loss[first] - loss[second], CONFIDENCE)
        print(
            f"{first} less {second}: ROC AUC {auc.text(4)} (p {p_value:.4f}), log loss {lost.text(4)} "
            f"on {len(labels):,} posters"
        )


def print_served(model: Any, predictions: pd.DataFrame, pictures: list[str]) -> None:
    """Prints how far the answers of the logged model are from the logged predictions, over all posters."""
    table = pd.DataFrame(
        {"image": pictures, "year": predictions["year"].astype(object), "genres": predictions["genres"]}
    ).astype(object)
    table = table.where(table.notna(), None)
    parts = [model.predict(table.iloc[start : start + BATCH]) for start in range(0, len(table), BATCH)]
    served = pd.concat(parts)
    for name, column in COLUMNS.items():
        gaps = (served[SERVED[name]].astype(float) - predictions[column]).abs()
        print(f"served {name:<9} differs by at most {gaps.max():.1e} over {gaps.notna().sum():,} posters")


def print_pairs(promised: DesignPairs, predictions: pd.DataFrame) -> None:
    """Prints for five equal bins of the difference the share promised by validation, and the share here."""
    genres = genre_columns(predictions).to_numpy(np.float32)
    logits = np.log(predictions["probability"] / (1 - predictions["probability"]))
    pairs = DesignPairs.match(predictions["label"], logits, years(predictions), genres)
    edges = np.quantile(np.abs(pairs.differences), np.linspace(0.0, 1.0, BINS + 1))[:-1]
    print(f"{'difference at least':>20}  {'promised (validation)':<26}{'happened':<26}pairs")
    for edge in edges:
        said, found = promised.share(edge, CONFIDENCE), pairs.share(edge, CONFIDENCE)
        if said is not None and found is not None:
            told = "told apart" if promised.told_apart(edge, CONFIDENCE) else "not told apart"
            shares = f"{said.interval.text(3):<26}{found.interval.text(3):<26}"
            print(f"{edge:>20.2f}  {shares}{found.count:,} {told}")


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    right = np.where(labels == 1, probabilities, 1.0 - probabilities)
    return np.asarray(-np.log(np.clip(right, 1e-12, 1.0)))


if __name__ == "__main__":
    main()
