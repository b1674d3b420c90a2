"""`poster-ml promote`: challenger to champion by a paired test on test posters, or one step back."""

from __future__ import annotations

from poster_ml.serving.promotion import Promotion, promote
from poster_ml.serving.registry import Version, registered_name, roll_back
from poster_ml.tracking.store import connect


def run_promote(family: str = "vgg16") -> Promotion:
    """Promotes the challenger of a family where it is better; errors as for `promote`."""
    connect(write=True)
    return promote(registered_name(family))


def run_roll_back(family: str = "vgg16") -> Version:
    """Makes the champion before this one champion again; errors as for `roll_back`."""
    connect(write=True)
    return roll_back(registered_name(family))
