"""Do the two statements about one prediction hold as often as they say? Simulated validation sets.

Run: python benchmarks/evidence_coverage.py [--simulations 2000]
(about two minutes on one core).

Posters have a decade, genres and a normal logit that separates the classes as a real model does (ROC AUC
about .69); decades and genres have their own share of Fresh, as real ones have. A large population gives the
truth; each simulation draws a validation set, asks both statements at several places, and looks whether the
95 % interval holds the truth.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from _measure import parse_options

from poster_ml.evaluation.evidence import DesignPairs, Share, similar_share
from poster_ml.progress import progress
from poster_ml.seeding import generator

GENRES = 6
SEPARATION = 0.7  # of the two normal distributions: ROC AUC .69
SIZES = (200, 1022)
LOGITS = (-1.0, 0.0, 0.5, 1.5)
DIFFERENCES = (0.0, 0.5, 1.0, 2.0)


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws labels, logits, years (N,), and genres (N, 6): one to three each."""
    years = random.choice(np.arange(1960, 2020), count)
    chances = 0.75 - 0.1 * (years - 1960) / 60
    genres = random.random((count, GENRES)).argsort(axis=1) < random.integers(1, 4, (count, 1))
    chances -= 0.15 * genres[:, 0]  # one genre is liked less
    labels = (random.random(count) < chances).astype(int)
    return labels, random.normal((labels - 0.5) * SEPARATION, 1.0), years, genres


def main() -> None:
    """Prints one line per statement: how often the interval held the truth."""
    simulations = parse_options(__doc__, simulations=2000).simulations
    labels, logits, years, genres = draw(generator(0, "population"), 1_000_000)
    order = np.argsort(logits)
    values, fresh = logits[order], np.r_[0, np.cumsum(labels[order])]
    pairs = DesignPairs.match(*draw(generator(0, "pairs"), 12_000))
    far = {one: np.abs(pairs.differences) >= one for one in DIFFERENCES}
    truth = {one: float((pairs.differences[rows] > 0).mean()) for one, rows in far.items()}
    print(f"{'statement':<34} {'posters':>7} {'sets':>6} {'held':>6} {'width':>6}")
    for size in SIZES:
        found: list[tuple[str, bool, float]] = []  # statement, whether it held, width
        for number in progress(range(simulations), "simulations"):
            random = generator(number, "evidence", str(size))
            labels, logits, years, genres = draw(random, size)
            for logit in LOGITS:
                share = similar_share(labels, logits, logit, 0.95)
                inside = np.sort(np.abs(logits - logit))[share.count - 1]
                low, high = np.searchsorted(values, [logit - inside, logit + inside])
                here = np.searchsorted(values, [logit - 0.02, logit + 0.02])
                around = (fresh[high] - fresh[low]) / (high - low)
                point = (fresh[here[1]] - fresh[here[0]]) / (here[1] - here[0])
                found.append(_held(f"similar share, logit {logit:+.1f}", share, around))
                found.append(_held(f"... as the chance at {logit:+.1f}", share, point))
            drawn = DesignPairs.match(labels, logits, years, genres)
            for difference in DIFFERENCES:
                pair = drawn.share(difference, 0.95)
                if pair is not None:
                    found.append(_held(f"pair share, difference {difference:.1f}", pair, truth[difference]))
        table = pd.DataFrame(found, columns=["statement", "held", "width"])
        for name, rows in table.groupby("statement", sort=False):
            held, width = rows["held"].mean(), rows["width"].mean()
            print(f"{name:<34} {size:>7} {len(rows):>6} {held:>6.3f} {width:>6.3f}")


def _held(statement: str, share: Share, true: float) -> tuple[str, bool, float]:
    interval = share.interval
    return statement, not interval.excludes(true), interval.high - interval.low


if __name__ == "__main__":
    main()
