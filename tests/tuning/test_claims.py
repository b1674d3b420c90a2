from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from poster_ml.config import SearchSpace
from poster_ml.errors import TuningError
from poster_ml.tuning.claims import MAX_REPEATS, Watch, claim, counted, fail, fail_dead, release
from poster_ml.tuning.records import read_records
from poster_ml.tuning.study import StudySpec, open_study
from poster_ml.tuning.work import Job, run_trial, work
from tests.tuning.surrogates import SurrogateObjective


def states(opened: Any) -> list[str]:
    return [trial.state.name for trial in opened.trials()]


def present(opened: Any, owner: str) -> str:
    opened.storage.presence.enter(owner)
    return owner


def test_no_more_places_than_asked_for(spec: StudySpec) -> None:
    opened = open_study(spec)
    owner = present(opened, "me")
    assert [claim(opened, 2, owner).number for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
    assert claim(opened, 2, owner) is None
    opened.study.tell(0, 0.5)
    assert claim(opened, 2, owner) is None
    opened.study.tell(1, state=TrialState.FAIL)
    assert claim(opened, 2, owner) is not None


def test_a_budget_holds_without_any_lock(spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a database, where nobody can be made to wait: many claim at once, nobody gets beyond the budget."""
    opened = [open_study(spec) for _ in range(6)]
    present(opened[0], "all")
    for each in opened:
        each.storage.claim_lock = None
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda each: claim(each, 4, "all"), opened))
    assert sum(each is not None for each in claims) == 4
    assert states(opened[0]).count("RUNNING") == 4


def test_one_dead_trial_is_repeated_once_though_many_want_to(spec: StudySpec) -> None:
    opened = [open_study(spec) for _ in range(5)]
    present(opened[0], "all")
    first = claim(opened[0], 1, "dead")
    assert first is not None
    for each in opened:
        each.storage.claim_lock = None
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda each: claim(each, 3, "all"), opened))
    repeats = [trial for trial in opened[0].trials() if trial.user_attrs.get("retry_of") == 0]
    assert sum(trial.state == TrialState.RUNNING for trial in repeats) == 1


def test_a_dead_workers_trial_is_repeated_as_it_was(
    spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    opened = open_study(spec)
    job = Job(spec, space, SurrogateObjective(2), 1, tmp_path)
    present(opened, "living")
    lost = claim(opened, 1, "dead", points=[{"model.dropout": 0.5}])
    assert lost is not None
    opened.trial(lost.trial_id, lost.number).suggest_int("model.unfreeze", 0, 12)
    drawn = opened.trials()[0].params
    again = claim(opened, 1, "living")
    assert again is not None
    assert (again.number, again.root, again.attempt, again.seed) == (1, 0, 1, lost.seed)
    run_trial(opened, job, again)
    first, second = read_records(opened, space)
    assert first.state == "interrupted"
    assert second.drawn["model.dropout"] == 0.5
    assert second.drawn["model.unfreeze"] == drawn["model.unfreeze"]
    assert second.retry_of == 0
    assert (tmp_path / "trial-0000").is_dir()


def test_a_trial_that_kills_every_worker_is_given_up(spec: StudySpec) -> None:
    opened = open_study(spec)
    for attempt in range(MAX_REPEATS + 1):
        claimed = claim(opened, 1, f"dies {attempt}")
        assert claimed is not None
        assert (claimed.root, claimed.attempt) == (0, attempt)
    fresh = claim(opened, 1, "next")
    assert fresh is not None
    assert (fresh.root, fresh.attempt) == (fresh.number, 0)


def test_own_settings_come_first_and_once(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    points = ({"model.dropout": 0.5, "model.unfreeze": 3}, {"model.dropout": 0.1})
    job = Job(spec, space, SurrogateObjective(2), 3, tmp_path, points)
    work(job, "one")
    work(replace(job, trials=5), "two")
    records = read_records(open_study(spec), space)
    assert [record.origin for record in records] == ["own setting 0", "own setting 1"] + ["sampler"] * 3
    assert records[0].drawn["model.dropout"] == 0.5
    assert records[0].drawn["model.unfreeze"] == 3
    assert records[1].drawn["model.dropout"] == 0.1


def test_a_result_that_comes_too_late_does_not_count(
    spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    """A worker that seemed dead wakes up after its trial was given to another."""
    opened, other = open_study(spec), open_study(spec)
    owner = present(opened, "sleepy")

    def objective(trial: Any) -> float:
        release(other, owner)
        trial.report(1, 0.9)
        raise AssertionError("report ends it")

    claimed = claim(opened, 1, owner)
    assert claimed is not None
    run_trial(opened, Job(spec, space, objective, 1, tmp_path), claimed)
    assert states(opened) == ["FAIL"]

    def quiet_objective(trial: Any) -> float:
        release(other, owner)
        return 0.9

    claimed = claim(opened, 1, owner)
    assert claimed is not None
    run_trial(opened, Job(spec, space, quiet_objective, 1, tmp_path), claimed)
    assert counted(opened.trials()) == []


def test_a_trial_whose_value_is_no_number_fails(spec: StudySpec, space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"3 trials in a row failed .* the objective returned nan"):
        work(Job(spec, space, lambda trial: float("nan"), 2, tmp_path), "me")


def test_a_database_trial_without_any_heartbeat_dies_after_the_grace(tmp_path: Path) -> None:
    spec = StudySpec("study", f"sqlite:///{tmp_path / 'study.db'}", heartbeat=1, grace=1)
    opened = open_study(spec)
    assert claim(opened, 1, "killed before its first heartbeat") is not None
    watch = Watch()
    fail_dead(opened, watch)
    assert states(opened) == ["RUNNING"]
    watch.first_seen[0] -= 1.1
    fail_dead(opened, watch)
    assert states(opened) == ["FAIL"]


def test_failing_a_finished_trial_changes_nothing(spec: StudySpec) -> None:
    opened = open_study(spec)
    present(opened, "me")
    claim(opened, 1, "me")
    seen = opened.trials()[0]
    opened.study.tell(0, 0.7)
    assert fail(opened, seen, "interrupted") is False
    assert opened.trials()[0].value == 0.7


def test_every_trial_has_a_seed_and_a_draw_of_its_own(
    spec: StudySpec, space: SearchSpace, tmp_path: Path
) -> None:
    """Each process starts its samplers anew; with one fixed seed the start-up points would repeat."""
    for trials in range(1, 5):
        work(Job(spec, space, SurrogateObjective(1), trials, tmp_path), f"process {trials}")
    records = read_records(open_study(spec), space)
    assert len({record.seed for record in records}) == 4
    assert len({tuple(record.drawn.values()) for record in records}) == 4
    again = StudySpec("study", str(tmp_path / "again.log"), epochs=6, startup=3)
    work(Job(again, space, SurrogateObjective(1), 4, tmp_path), "one process")
    assert [record.drawn for record in read_records(open_study(again), space)] == [
        record.drawn for record in records
    ]
