"""One process at a time for what a study must not do twice, on however many machines its commands run.

A claim is a running trial of a second study in the same storage. Trial numbers are given out one by one, so
of two commands that arrive at the same moment one has the lower number, and the right. A holder shows that it
lives by counting an attribute up. Others watch whether it moves, on their own clock: no two clocks are
compared.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

logger = logging.getLogger(__name__)


@contextmanager
def sole(name: str, storage: BaseStorage, *, beat: float = 5.0, grace: float = 60.0) -> Iterator[str]:
    """Claims a study's ending for this process until the block ends.

    Args:
        name: of the study; the claims are kept in another one, named after it.
        storage: of both.
        beat: seconds between signs of life, above 0.
        grace: seconds without one after which a holder counts as dead, several times `beat`.

    Yields: "" where the claim is ours; else who has it ("process 17 on host"), and nothing is claimed.
    """
    claims = optuna.create_study(study_name=f"{name}: ending", storage=storage, load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Optuna beats for `optimize` only: we do it ourselves
        mine = claims.ask()
    mine.set_user_attr("holder", f"process {os.getpid()} on {socket.gethostname()}")
    stop = threading.Event()
    thread = threading.Thread(target=_live, args=(mine, stop, beat), daemon=True)
    thread.start()
    try:
        yield _living_holder(claims, mine.number, beat, grace)
    finally:
        stop.set()
        thread.join()
        claims.tell(mine, state=TrialState.FAIL, skip_if_finished=True)  # claims have no value to tell


def _live(mine: optuna.Trial, stop: threading.Event, beat: float) -> None:
    count = 0
    while not stop.wait(beat):
        count += 1
        try:
            mine.set_user_attr("beat", count)
        except Exception:  # the database may be restarting: the next beat may reach it
            logger.debug("a sign of life could not be written", exc_info=True)


def _living_holder(claims: optuna.Study, number: int, beat: float, grace: float) -> str:
    """Returns who holds a claim with a lower number and lives, or ""; ends the claims of the dead."""
    first = {trial.number: trial.user_attrs.get("beat") for trial in _before(claims, number)}
    end = time.monotonic() + grace
    while waiting := _before(claims, number):
        for trial in waiting:
            if trial.user_attrs.get("beat") != first.get(trial.number):
                return str(trial.user_attrs.get("holder", "another process"))
        if time.monotonic() > end:
            for trial in waiting:
                logger.info(f"{trial.user_attrs.get('holder', 'another process')} shows no sign of life")
                claims.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            return ""
        time.sleep(min(beat, 1.0) / 2)
    return ""


def _before(claims: optuna.Study, number: int) -> list[FrozenTrial]:
    running = claims.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial.number < number]
