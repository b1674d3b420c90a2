"""The rule behind synthetic posters: what decides the label, and how well anyone can do.

A poster has a title prominence t in [0, 1] (the area of its title) and a crowd c in [0, 1] (the number of its
figures). Its score is t - c, and its clean label is Fresh where the score is positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from poster_ml.synthetic.drawing import GRIDS

if TYPE_CHECKING:
    import pandas as pd

GAP = 0.25  # no poster has a score nearer to zero (boxes on whole pixels move it by a few hundredths)
CLEAN_FRESH = 0.6  # share of posters with a positive score; .58 are Fresh after flips at .9
SMALLEST_TITLE, LARGEST_TITLE = 0.035, 0.30  # area of the title's box as a share of the poster
MOST_FIGURES = max(GRIDS)


@dataclass(frozen=True)
class Confounders:
    """How strongly other things follow the label: 0 not at all, 1 always.

    `palette` (Fresh warm, Rotten cold) and `shortcut` (a mark in the corner of Fresh posters) can be seen;
    `genre` and `year` (Fresh movies are older) stand in the table only.
    """

    palette: float = 0.0
    genre: float = 0.3
    year: float = 0.3
    shortcut: float = 0.0


def rule_score(title_share: float, figures: int) -> float:
    """Returns the score of one poster, in [-1, 1], from its title's area share and its number of figures."""
    prominence = (title_share - SMALLEST_TITLE) / (LARGEST_TITLE - SMALLEST_TITLE)
    return prominence - (figures - 1) / (MOST_FIGURES - 1)


def score_regions(regions: pd.DataFrame, width: int, height: int) -> pd.Series:
    """Computes the rule from what was drawn.

    Args:
        regions: as in `regions.csv`.
        width, height: of the posters in pixels.

    Returns: the score per movie_id, in [-1, 1]; positive means Fresh by the rule.
    """
    import pandas as pd

    title = regions[regions["kind"] == "title"].set_index("movie_id")
    share = (title["right"] - title["left"]) * (title["bottom"] - title["top"]) / (width * height)
    figures = regions[regions["kind"] == "figure"].groupby("movie_id").size()
    crowd = figures.reindex(share.index).tolist()
    scores = [rule_score(area, count) for area, count in zip(share.tolist(), crowd, strict=True)]
    return pd.Series(scores, index=share.index, name="score")


def best_possible(bayes_accuracy: float, confounders: Confounders) -> tuple[float, float]:
    """Computes what a perfect reader of the pictures reaches.

    The rule, the palette and the mark are independent given the label, so all their combinations can be
    enumerated.

    Args:
        bayes_accuracy: how often the label agrees with the rule, in [0.5, 1].
        confounders: those that can be seen count.

    Returns: accuracy and ROC AUC in expectation.
    """
    joint = np.array([[CLEAN_FRESH, bayes_accuracy], [1 - CLEAN_FRESH, 1 - bayes_accuracy]])
    fresh = float(joint[0].prod() + joint[1].prod())
    of_fresh = CLEAN_FRESH * bayes_accuracy / fresh
    of_rotten = CLEAN_FRESH * (1 - bayes_accuracy) / (1 - fresh)
    chances = np.array([[of_rotten], [of_fresh]])  # (Rotten and Fresh, every combination of signs)
    chances = np.concatenate([chances, 1 - chances], axis=1)
    for strength in (confounders.palette, confounders.shortcut):
        agrees = np.array([[1 - strength], [1 + strength]]) / 2
        chances = np.concatenate([chances * agrees, chances * (1 - agrees)], axis=1)
    rotten_chance, fresh_chance = chances
    accuracy = np.maximum(fresh * fresh_chance, (1 - fresh) * rotten_chance).sum()
    posterior = fresh * fresh_chance / np.maximum(fresh * fresh_chance + (1 - fresh) * rotten_chance, 1e-300)
    above = posterior[:, None] - posterior[None, :]
    wins = (above > 1e-12) + 0.5 * (np.abs(above) <= 1e-12)
    return float(accuracy), float(fresh_chance @ wins @ rotten_chance)
