"""Do the 95 % intervals contain the truth 95 % of the time? Simulated posters, where the truth is known.

Run: python benchmarks/coverage.py [--simulations 2000] [--posters 1300]
(about 10 minutes on one core).

Fresh and Rotten posters have normal logits, so far apart that ROC AUC is .66 as on real posters. The
probabilities are too sure (true temperature 1.5), so that the true ECE is not 0, or calibrated, where it
is. The truth is each metric on four million posters. Two designs draw the samples: `fixed` keeps the class
counts, as a stratified split does; `random` draws them too. Two methods make the intervals.
"""

from __future__ import annotations

import numpy as np
from _measure import parse_options

from poster_ml.evaluation.metrics import METRIC_NAMES, metrics_with_intervals, weighted_scores
from poster_ml.evaluation.stats import delong_difference
from poster_ml.progress import progress
from poster_ml.seeding import generator

SHARE_FRESH = 0.588
SEPARATION = 0.58  # of the two normal distributions: AUC = Phi(separation / sqrt 2) = .659
CONFIDENCE = 0.95


def draw(
    count: int, random: np.random.Generator, *, fixed: bool, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws labels (N,), the model's probabilities (N,), and those of a second, noisier model (N,)."""
    fresh = round(SHARE_FRESH * count) if fixed else int(random.binomial(count, SHARE_FRESH))
    labels = np.r_[np.ones(fresh, int), np.zeros(count - fresh, int)]
    diagnostics = SEPARATION * (labels - 0.5) + random.normal(size=count)
    # The true log odds of two normal distributions with the same spread are linear in the diagnostics.
    logits = temperature * (SEPARATION * diagnostics + np.log(SHARE_FRESH / (1 - SHARE_FRESH)))
    noisier = logits + 0.5 * random.normal(size=count)
    return labels, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-noisier))


def true_values(temperature: float) -> tuple[dict[str, float], float]:
    """Returns every metric and the AUC difference of the two models on four million posters."""
    labels, first, second = draw(4_000_000, generator(0, "truth"), fixed=True, temperature=temperature)
    once = np.ones((1, len(labels)))
    scores = [weighted_scores(labels, values, 0.5, once) for values in (first, second)]
    truth = {name: float(scores[0][name][0]) for name in METRIC_NAMES}
    return truth, truth["roc_auc"] - float(scores[1]["roc_auc"][0])


def coverage(
    simulations: int, posters: int, repeats: int, *, fixed: bool, stratified: bool, temperature: float
) -> dict[str, float]:
    """Returns the share of simulations whose interval contains the truth, for each metric."""
    truth, true_difference = true_values(temperature)
    hits = dict.fromkeys([*METRIC_NAMES, "AUC difference"], 0)
    for number in progress(range(simulations), "simulating"):
        random = generator(1, "sample", number)
        labels, first, second = draw(posters, random, fixed=fixed, temperature=temperature)
        found = metrics_with_intervals(
            labels,
            first,
            threshold=0.5,
            repeats=repeats,
            confidence=CONFIDENCE,
            seed=number,
            stratified=stratified,
        )
        for name, interval in found.items():
            hits[name] += not interval.excludes(truth[name])
        difference, _ = delong_difference(labels, first, second, CONFIDENCE)
        hits["AUC difference"] += not difference.excludes(true_difference)
    return {name: count / simulations for name, count in hits.items()}


def main() -> None:
    arguments = parse_options(__doc__, simulations=2000, posters=1300, repeats=400)
    cases = {
        "fixed, stratified": {"fixed": True, "stratified": True, "temperature": 1.5},
        "random, stratified": {"fixed": False, "stratified": True, "temperature": 1.5},
        "random, plain": {"fixed": False, "stratified": False, "temperature": 1.5},
        "calibrated: fixed, stratified": {"fixed": True, "stratified": True, "temperature": 1.0},
    }
    error = np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / arguments.simulations)
    print(
        f"{arguments.simulations} simulations of {arguments.posters} posters, {arguments.repeats} resamples; "
        f"standard error of a share {error:.3f}\n"
    )
    names = [*METRIC_NAMES, "AUC difference"]
    print(f"| posters, bootstrap | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}")
    for case, options in cases.items():
        found = coverage(arguments.simulations, arguments.posters, arguments.repeats, **options)
        print(f"| {case} | {' | '.join(f'{found[name]:.3f}' for name in names)} |", flush=True)


if __name__ == "__main__":
    main()
