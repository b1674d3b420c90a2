"""How often is a challenger promoted that is not better, and how often one that is? Simulated searches.

Run: python benchmarks/promotion_simulation.py [--simulations 2000]
(about two minutes on one core).

Every network scores posters with normal logits, ROC AUC about .66. What it adds to the label is shared in
part by all networks (hard posters), by those of a setting, by the epochs of a run, so scores are correlated
as those of real networks are. Every run keeps its best epoch on the validation posters, the champion's too.
Two searches: `4 x 3`: four settings with three seeds each; `30 trials`: one network per trial, the
three best settings and the default trained with three seeds each, all correlated with their trials.
The best mean over seeds wins. Five ways to decide:

- best seed, validation: the best run of the winner, two-sided p < .05 on the posters that chose it;
- first seed, validation: the run named beforehand, same posters;
- first seed, validation, corrected: the same, .025 divided by the number of networks compared (Bonferroni);
- first seed, test, plain: .025 on posters that chose nothing, again at every decision;
- first seed, test: what `promote` does, .025 / (k (k + 1)) at the k-th decision on the same posters.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from poster_ml.evaluation.stats import delong_difference
from poster_ml.progress import progress
from poster_ml.seeding import generator
from poster_ml.serving.promotion import ERROR, decide, decision_level

POSTERS = {"val": 1022, "test": 1278}
SHARE_FRESH = 0.588
SEPARATION = 0.58  # of the two normal distributions: ROC AUC .659
GAINS = {0.0: 0.58, 0.03: 0.70, 0.05: 0.785}  # gain in ROC AUC -> separation of what was searched
# Shares of a logit's variance given the label: all networks, a setting, a run, an epoch.
SHARES = {"poster": 0.55, "setting": 0.20, "run": 0.15, "epoch": 0.10}
SETTINGS, SEEDS, EPOCHS = 4, 3, 8
DESIGNS = (
    "best seed, validation",
    "first seed, validation",
    "first seed, validation, corrected",
    "first seed, test, plain",
    "first seed, test",
)


@dataclass
class World:
    """The posters of one simulation, validation first: labels (N,), and what all networks share (N,)."""

    random: np.random.Generator
    labels: np.ndarray
    shared: np.ndarray

    @classmethod
    def draw(cls, random: np.random.Generator) -> World:
        """Draws posters with the class balance of a stratified split."""
        parts = []
        for count in POSTERS.values():
            fresh = round(SHARE_FRESH * count)
            parts.append(np.r_[np.ones(fresh, int), np.zeros(count - fresh, int)])
        labels = np.concatenate(parts)
        return cls(random, labels, random.normal(size=len(labels)))

    def part(self, split: str) -> slice:
        """Where the posters of a split stand."""
        return slice(0, POSTERS["val"]) if split == "val" else slice(POSTERS["val"], None)

    def setting(self) -> np.ndarray:
        """Draws what the networks of one setting have in common, (N,)."""
        return self.random.normal(size=len(self.labels))

    def run(self, setting: np.ndarray, separation: float) -> np.ndarray:
        """Trains one network: the logits (N,) of the epoch that is best on validation."""
        own = np.sqrt(SHARES["poster"]) * self.shared + np.sqrt(SHARES["setting"]) * setting
        own = own + np.sqrt(SHARES["run"]) * self.random.normal(size=len(own))
        noise = self.random.normal(size=(EPOCHS, len(own)))
        epochs = separation * (self.labels - 0.5) + own + np.sqrt(SHARES["epoch"]) * noise  # (E, N)
        return epochs[np.argmax(self.aucs(epochs, "val"))]

    def aucs(self, logits: np.ndarray, split: str) -> np.ndarray:
        """ROC AUC of networks (M, N) on a split, (M,); logits have no ties."""
        labels, values = self.labels[self.part(split)], logits[:, self.part(split)]
        order = np.argsort(values, axis=1)
        fresh = labels[order]  # (M, n), from the lowest logit to the highest
        rotten_below = np.cumsum(1 - fresh, axis=1)
        pairs = int(labels.sum()) * int((1 - labels).sum())
        return (rotten_below * fresh).sum(axis=1) / pairs


def search(world: World, separation: float, trials: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Runs one search; returns the winner's best run and first run (N,), and how many networks it saw."""
    default = world.setting()
    found = [world.setting() for _ in range(max(trials, SETTINGS - 1))]
    if trials:
        scores = world.aucs(np.stack([world.run(each, separation) for each in found]), "val")
        found = [found[place] for place in np.argsort(-scores)[: SETTINGS - 1]]
    finals = [np.stack([world.run(each, separation) for _ in range(SEEDS)]) for each in [default, *found]]
    scores = np.stack([world.aucs(runs, "val") for runs in finals])  # (settings, seeds)
    winner = int(np.argmax(scores.mean(axis=1)))
    best = finals[winner][int(np.argmax(scores[winner]))]
    return best, finals[winner][0], trials + SETTINGS * SEEDS


def verdicts(world: World, champion: np.ndarray, separation: float, trials: int, number: int) -> list[bool]:
    """Says for each of DESIGNS whether the winner of one search would be promoted at the n-th decision."""
    best, first, compared = search(world, separation, trials)

    def better(challenger: np.ndarray, split: str, level: float) -> bool:
        part = world.part(split)
        return decide(world.labels[part], challenger[part], champion[part], level)[1] < level

    part = world.part("val")
    old, p_value = delong_difference(world.labels[part], best[part], champion[part], 0.95)
    return [
        old.estimate > 0 and p_value < 0.05,
        better(first, "val", ERROR),
        better(first, "val", ERROR / compared),
        better(first, "test", ERROR),
        better(first, "test", decision_level(number)),
    ]


def promotions(simulations: int, gain: float, trials: int, seed: int = 0) -> np.ndarray:
    """Returns the share of first decisions that promote, one per design, (5,)."""
    counts = np.zeros(len(DESIGNS))
    for number in progress(range(simulations), "searching"):
        world = World.draw(generator(seed, "promotion", trials, str(gain), number))
        champion = world.run(world.setting(), SEPARATION)
        counts += verdicts(world, champion, GAINS[gain], trials, 1)
    return counts / simulations


def any_false(simulations: int, rounds: int, seed: int = 0) -> np.ndarray:
    """Returns the share of stories with at least one false promotion, one per design, (5,).

    A story: `rounds` searches of equal networks, one after the other, each against the first champion.
    """
    counts = np.zeros(len(DESIGNS))
    for number in progress(range(simulations), "repeating"):
        world = World.draw(generator(seed, "repeated", number))
        champion = world.run(world.setting(), SEPARATION)
        story = [verdicts(world, champion, SEPARATION, 0, place) for place in range(1, rounds + 1)]
        counts += np.any(story, axis=0)
    return counts / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description="False and true promotions by how they are decided.")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10)
    count = parser.parse_args().simulations
    rounds = parser.parse_args().rounds
    columns = {
        "4 x 3, equal": promotions(count, 0.0, 0),
        "30 trials, equal": promotions(count, 0.0, 30),
        f"any of {rounds} searches, equal": any_false(count // 4, rounds),
        "4 x 3, +.03": promotions(count // 4, 0.03, 0),
        "4 x 3, +.05": promotions(count // 4, 0.05, 0),
    }
    print(
        f"{count} simulations ({count // 4} of the last three columns), {POSTERS['val']:,} validation and "
        f"{POSTERS['test']:,} test posters; standard error of .025: {np.sqrt(0.025 * 0.975 / count):.4f}\n"
    )
    print(f"| decided by | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for place, design in enumerate(DESIGNS):
        print(f"| {design} | {' | '.join(f'{shares[place]:.3f}' for shares in columns.values())} |")


if __name__ == "__main__":
    main()
