"""One ending per study: two real processes, one of them killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from poster_ml.tuning.sole import sole
from poster_ml.tuning.storage import open_storage

HOLD = """
import sys, time
from poster_ml.tuning.sole import sole
from poster_ml.tuning.storage import open_storage
with sole("study", open_storage(sys.argv[1]).optuna, beat=0.1) as holder:
    print("held" if holder == "" else holder, flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_a_living_process_keeps_the_ending_and_a_killed_one_loses_it(tmp_path: Path, kind: str) -> None:
    storage = str(tmp_path / "journal.log") if kind == "journal" else f"sqlite:///{tmp_path / 'study.db'}"
    open_storage(storage)
    other = subprocess.Popen([sys.executable, "-c", HOLD, storage], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with sole("study", open_storage(storage).optuna, beat=0.1, grace=60) as holder:
            assert holder.startswith(f"process {other.pid} on ")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with sole("study", open_storage(storage).optuna, beat=0.1, grace=1) as holder:
        assert holder == ""


def test_of_two_that_come_at_the_same_moment_one_gets_it(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "journal.log")).optuna
    both, found = threading.Barrier(2), []

    def come() -> None:
        both.wait()
        with sole("study", storage, beat=0.1) as holder:
            found.append(holder)
            both.wait()

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(holder == "" for holder in found) == [False, True]


def test_an_ending_that_is_over_is_free_again_also_after_an_error(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "journal.log")).optuna
    with pytest.raises(RuntimeError), sole("study", storage, beat=0.1):
        raise RuntimeError
    with sole("study", storage, beat=0.1) as holder, sole("another", storage, beat=0.1) as elsewhere:
        assert (holder, elsewhere) == ("", "")
