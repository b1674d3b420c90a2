"""What a user's command does, in small, on the surrogate: tests and benchmarks start, kill and repeat it.

python -m tests.tuning.command FOLDER STORAGE TRIALS WORKERS SECONDS SCHEDULER SAMPLER PRUNER
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import psutil

from poster_ml.cluster import open_cluster
from poster_ml.config import parse_space
from poster_ml.tuning.search import Job, run_search
from poster_ml.tuning.storage import study_lock
from poster_ml.tuning.study import StudySpec, open_study
from tests.tuning.surrogates import SPACE, SurrogateObjective


def workers_of(pid: int) -> list[psutil.Process]:
    """The living worker processes of a command (not multiprocessing's resource tracker)."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # it is gone
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


if __name__ == "__main__":
    folder, storage, trials, workers, seconds, scheduler, sampler, pruner = sys.argv[1:]
    spec = StudySpec("study", storage, sampler=sampler, pruner=pruner, epochs=6)
    with study_lock(storage, "study"):
        objective = SurrogateObjective(6, float(seconds), Path(folder).resolve() / "ledger")
        job = Job(parse_space(SPACE, "surrogate"), objective, int(trials), Path(folder).resolve() / "work")
        with open_cluster(int(workers), scheduler) as client:
            run_search(job, open_study(spec, {"space": "surrogate"}), client)
    print("done")
