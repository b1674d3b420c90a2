"""Do intervals on joined out-of-fold scores hold the truth as often as they say? Simulated cross-validations.

Run: python benchmarks/fold_coverage.py [--simulations 1000]
(about three minutes on one core).

Posters have 40 features; a linear discriminant, fitted on four folds, scores the fifth. ROC AUC is
taken within folds, since networks of different folds do not share a scale. Two truths: of the five
fitted models (their mean ROC AUC on a large population), and of the procedure (the mean over many
training sets). The gain is that of all 40 features over the first ten, paired on the same posters.
"""

from __future__ import annotations

import numpy as np
from _measure import parse_options

from poster_ml.evaluation.stats import Ranking, auc_difference, auc_interval, structural_components
from poster_ml.progress import progress
from poster_ml.seeding import generator

FEATURES, KNOWN, FOLDS = 40, 10, 5
SIZES = (500, 2000, 6390)
POPULATION = 40_000


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws features (N, 40) and labels (N,), ROC AUC of the best score about .72."""
    labels = (random.random(count) < 0.59).astype(int)
    shift = np.linspace(0.2, 0.06, FEATURES)
    return random.normal(size=(count, FEATURES)) + np.outer(labels, shift), labels


def direction(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the linear discriminant, (K,)."""
    rest = features - np.where(labels[:, None] == 1, *(features[labels == one].mean(0) for one in (1, 0)))
    difference = features[labels == 1].mean(0) - features[labels == 0].mean(0)
    return np.linalg.solve(rest.T @ rest / len(labels) + 0.05 * np.eye(len(difference)), difference)


def main() -> None:
    """Prints one line per number of posters and truth."""
    simulations = parse_options(__doc__, simulations=1000).simulations
    population, truth = draw(generator(0, "population"), POPULATION)
    print(f"{'posters':>7} {'statement':<22} {'width':>6} {'held, these models':>19} {'held, procedure':>16}")
    for size in SIZES:
        found = [
            one_study(size, number, population, truth) for number in progress(range(simulations), f"{size}")
        ]
        for position, name in enumerate(("ROC AUC", "gain, paired")):
            intervals = [row[position][0] for row in found]
            own = np.array([row[position][1] for row in found])
            held = np.mean([not one.excludes(value) for one, value in zip(intervals, own, strict=True)])
            procedure = np.mean([not one.excludes(own.mean()) for one in intervals])
            width = np.mean([one.high - one.low for one in intervals])
            print(f"{size:>7} {name:<22} {width:>6.3f} {held:>19.3f} {procedure:>16.3f}")


def one_study(size: int, number: int, population: np.ndarray, truth: np.ndarray) -> list:
    """Returns (interval, truth of the fitted models) of the ROC AUC and of the gain."""
    random = generator(number, "folds", size)
    features, labels = draw(random, size)
    folds = random.permutation(np.arange(size) % FOLDS)
    scores, true = np.empty((2, size)), np.empty((2, FOLDS))
    for fold in range(FOLDS):
        inside = folds == fold
        for row, columns in enumerate((FEATURES, KNOWN)):
            weights = direction(features[~inside, :columns], labels[~inside])
            scores[row, inside] = features[inside, :columns] @ weights
            true[row, fold] = structural_components(truth, population[:, :columns] @ weights)[0]
    first, second = (Ranking.of(labels, one, folds=folds) for one in scores)
    gain, _ = auc_difference(first, second, 0.95)
    means = true.mean(axis=1)
    return [(auc_interval(first, 0.95), means[0]), (gain, means[0] - means[1])]


if __name__ == "__main__":
    main()
