"""Which epoch is kept and when training stops: pure functions of the history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

History = Sequence[Mapping[str, float]]


def best_epoch(history: History, monitor: str) -> int:
    """Index of the epoch with the best monitored value, the first one where several are equal.

    Losses are better when lower, everything else when higher. A value that is not a number never
    wins; where there is no number at all, the last epoch is returned.
    """
    values = [epoch[monitor] for epoch in history]
    sign = -1.0 if monitor.endswith("loss") else 1.0
    scores = [-math.inf if math.isnan(value) else sign * value for value in values]
    highest = max(scores)
    return len(values) - 1 if highest == -math.inf else scores.index(highest)


def should_stop(history: History, monitor: str, patience: int, warmup_epochs: int = 0) -> bool:
    """Whether the monitored value has not improved for `patience` epochs; never when patience is 0.

    Epochs of the head's warm-up are not counted: the backbone is not given up before it was released.
    """
    if patience == 0 or not history:
        return False
    last_rise = max(best_epoch(history, monitor), warmup_epochs - 1)
    return len(history) - 1 - last_rise >= patience
