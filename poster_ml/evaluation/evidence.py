"""What validation posters say of one prediction, and of the choice between two.

Both statements are shares with an interval and a count, made from posters that trained nothing: how
many of the posters that scored like this one were Fresh, and how often, of two comparable movies of
which one was Fresh, the one whose poster scored so much higher was it.

The pairs are pairs of movies, not two designs of one movie: nobody has seen critics judge the same
movie twice. The share says how much a difference of that size has been worth between movies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poster_ml.evaluation.stats import Floats, Integers, Interval, wilson_interval

SIMILAR = 200  # posters that a similar share looks at: an interval of about +-.07
LARGEST_PART = 0.25  # ... but never more than this part of all of them, or they were not similar
FEWEST_PAIRS = 50


@dataclass(frozen=True)
class Share:
    """A share with its interval, and how many posters or pairs it was counted on."""

    interval: Interval
    count: int


def similar_share(labels: npt.ArrayLike, logits: npt.ArrayLike, logit: float, confidence: float) -> Share:
    """Of the posters that scored like this one: how many were Fresh?

    Args:
        labels: (N,) 0 or 1, of validation posters.
        logits: (N,) what the model said of them.
        logit: what it says of the poster asked about.
        confidence: between 0 and 1.

    Returns: the share with Wilson's interval, of the 200 posters (a quarter of them where there are
        fewer than 800) whose logits are nearest.
    """
    truth, values = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    count = max(1, min(SIMILAR, int(len(values) * LARGEST_PART)))
    nearest = np.argsort(np.abs(values - logit), kind="stable")[:count]
    return Share(wilson_interval(int(truth[nearest].sum()), count, confidence), count)


@dataclass(frozen=True)
class DesignPairs:
    """Pairs of comparable movies, one Fresh and one Rotten.

    differences: (P,) logit of the Fresh one less that of the Rotten one.
    fresh, rotten: (P,) which poster of its class stands in the pair: 0, 1, ...
    """

    differences: Floats
    fresh: Integers
    rotten: Integers

    @classmethod
    def match(
        cls, labels: npt.ArrayLike, logits: npt.ArrayLike, years: npt.ArrayLike, genres: npt.ArrayLike
    ) -> DesignPairs:
        """Pairs every Fresh movie with every Rotten one of the same decade that shares a genre.

        Args:
            labels, logits, years: (N,); a year may be NaN, and then has no partner.
            genres: (N, G) 0 or 1 per genre.
        """
        truth, values = np.asarray(labels), np.asarray(logits, dtype=np.float64)
        decades = np.floor(np.asarray(years, dtype=np.float64) / 10.0)
        has = np.asarray(genres, dtype=np.float32)
        first, second = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
        same_decade = decades[first][:, None] == decades[second][None, :]  # NaN equals nothing
        fresh, rotten = np.nonzero(same_decade & (has[first] @ has[second].T > 0))
        return cls(values[first][fresh] - values[second][rotten], fresh, rotten)

    def share(self, difference: float, confidence: float) -> Share | None:
        """Of the pairs that differ by at least so much: how often was the higher one the Fresh one?

        Args:
            difference: in logit, of either sign.
            confidence: between 0 and 1.

        Returns: the share, and the number of pairs; None where fewer than 50 differ so much. A
            poster stands in many pairs, so the variance is clustered by both of a pair's posters
            (Cameron, Gelbach and Miller 2011, doi:10.1198/jbes.2010.07136), and Wilson's interval
            gets the number of independent pairs that would vary as much.
        """
        return self._share(np.abs(self.differences) >= abs(difference), confidence)

    def told_apart(self, difference: float, confidence: float) -> bool:
        """Says whether a difference (in logit, of either sign) is large enough to mean anything.

        It is where among the pairs that differ by at most so much the higher one is the Fresh one
        in significantly more than half. Of all that differ by at least so much it nearly always is,
        be the difference ever so small, since most of them differ by far more.
        """
        share = self._share(np.abs(self.differences) <= abs(difference), confidence)
        return share is not None and share.interval.low > 0.5

    def _share(self, chosen: npt.NDArray[np.bool_], confidence: float) -> Share | None:
        count = int(chosen.sum())
        if count < FEWEST_PAIRS:
            return None
        differences = self.differences[chosen]
        right = np.where(differences == 0.0, 0.5, differences > 0.0)
        share = float(right.mean())
        rest = right - share
        sides = (self.fresh[chosen], self.rotten[chosen])
        clustered = sum(float((np.bincount(side, weights=rest) ** 2).sum()) for side in sides)
        variance = (clustered - float((rest**2).sum())) / count**2
        spread = share * (1.0 - share)
        # Without variation nothing is known of it: then a pair counts once per poster of the smaller side.
        effective = float(min(len(np.unique(side)) for side in sides))
        if variance > 0.0 and spread > 0.0:
            effective = min(float(count), spread / variance)
        return Share(wilson_interval(share * effective, effective, confidence), count)
