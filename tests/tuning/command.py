"""What a user's command does, in small, on the surrogate: tests and benchmarks start, kill and repeat it.

python -m tests.tuning.command FOLDER STORAGE TRIALS WORKERS SECONDS SCHEDULER SAMPLER PRUNER
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from poster_ml.cluster import Client, open_cluster
from poster_ml.search_space import parse_space
from poster_ml.tuning.search import Job, run_search
from poster_ml.tuning.storage import study_lock
from poster_ml.tuning.study import OpenStudy, StudySpec, open_study
from tests.tuning.surrogates import SPACE, SurrogateObjective

ROOT = Path(__file__).parents[2]


def search(folder: Path, opened: OpenStudy, client: Client, trials: int, seconds: float = 0.0) -> OpenStudy:
    """What the command does, on a cluster that is there; returns the study."""
    objective = SurrogateObjective(6, seconds, folder.resolve() / "ledger")
    job = Job(parse_space(SPACE, "surrogate"), objective, trials, folder.resolve() / "work")
    run_search(job, opened, client)
    return opened


class Command:
    """A tuning command that can be started, killed and repeated."""

    def __init__(self, folder: Path, storage: str = "", scheduler: str = "") -> None:
        self.folder, self.storage, self.scheduler = folder, storage or str(folder / "optuna.db"), scheduler
        folder.mkdir(exist_ok=True)

    def start(self, trials: int, workers: int, seconds: float) -> subprocess.Popen[str]:
        arguments = [self.folder, self.storage, trials, workers, seconds, self.scheduler, "random", "none"]
        line = [sys.executable, "-m", "tests.tuning.command", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, start_new_session=True, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def finish(self, trials: int, client: Client) -> OpenStudy:
        """Takes the study up in this process."""
        with study_lock(self.storage, "study"):
            return search(self.folder, self.opened(), client, trials)

    def opened(self) -> OpenStudy:
        return open_study(StudySpec("study", self.storage, sampler="random", pruner="none", epochs=6))

    def lines(self, word: str) -> list[str]:
        ledger = self.folder / "ledger"
        text = ledger.read_text() if ledger.exists() else ""
        return [line for line in text.splitlines() if line.startswith(word)]

    def wait_for(self, word: str, count: int) -> None:
        """Waits until there are that many lines of a kind."""
        end = time.monotonic() + 60
        while len(self.lines(word)) < count:
            assert time.monotonic() < end, f"waited for {count} x {word}: {self.lines('')}"
            time.sleep(0.02)


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
    with study_lock(storage, "study"), open_cluster(int(workers), scheduler) as client:
        search(Path(folder), open_study(spec, {"space": "surrogate"}), client, int(trials), float(seconds))
