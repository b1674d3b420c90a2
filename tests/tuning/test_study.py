from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from poster_ml.errors import OutputError, PosterMLError, TuningError
from poster_ml.tuning.space import suggest
from poster_ml.tuning.storage import open_storage
from poster_ml.tuning.study import StudySpec, make_pruner, open_study
from tests.refusals import refusal


def test_unknown_names_are_refused_with_the_known_ones():
    said = refusal(TuningError, StudySpec, "s", "x.log", sampler="tpee")
    assert said == "unknown sampler 'tpee' (did you mean 'tpe'?): choose one of tpe, random, qmc"
    said = refusal(TuningError, StudySpec, "s", "x.log", pruner="medium")
    known = "choose one of median, third, hyperband, halving, none"
    assert said == f"unknown pruner 'medium' (did you mean 'median'?): {known}"


def test_a_study_is_continued_with_the_same_things_only(spec):
    open_study(spec, {"space": "a", "dataset": "1"})
    open_study(spec, {"space": "a", "dataset": "1"})
    assert refusal(TuningError, open_study, spec, {"space": "b", "dataset": "1"}) == (
        f"study 'study' in {spec.storage} cannot be continued: space was a, now b; give another --study name"
    )


def test_a_folder_and_a_foreign_file_are_no_study(tmp_path):
    assert "is a folder: give a file" in refusal(OutputError, open_storage, str(tmp_path))
    other = tmp_path / "other.txt"
    other.write_text("a poem\nof two lines\n")
    said = refusal(OutputError, open_storage, str(other))
    assert "exists and holds no SQLite database: give another file" in said
    assert other.read_text() == "a poem\nof two lines\n"
    said = refusal(OutputError, open_storage, str(tmp_path / "why?.db"))
    assert "a database cannot lie at a path with a ?" in said


def test_a_path_and_its_url_are_one_study_and_optuna_itself_reads_it(spec):
    """The dashboard and Optuna's own commands take the URL."""
    open_study(spec).study.add_trial(optuna.trial.create_trial(value=0.5))
    url = f"sqlite:///{spec.storage}"
    assert open_study(replace(spec, storage=url)).counted() == 1
    assert optuna.load_study(study_name="study", storage=url).best_value == 0.5


def test_a_trial_that_a_dead_command_left_is_taken_up_as_it_was(spec, space):
    opened = open_study(spec)
    trial = opened.ask()
    drawn = trial.suggest_float("model.dropout", 0.0, 0.8)
    trial.report(0.6, 1)
    opened = open_study(spec)
    (left,) = opened.trials(TrialState.RUNNING)
    again = opened.resume(left.number)
    suggest(again, space)
    assert again.params["model.dropout"] == drawn
    assert len(again.params) == 4
    opened.study.tell(again, 0.7)
    (ended,) = opened.trials()
    assert (ended.value, ended.intermediate_values) == (0.7, {1: 0.6})


def test_an_unreachable_database_is_told_in_one_line_without_its_password():
    pytest.importorskip("psycopg")
    text = refusal(PosterMLError, open_storage, "postgresql://me:sec@ret@127.0.0.1:1/none")
    assert text.startswith("the password in postgresql://me:***@127.0.0.1:1/none has an @")
    text = refusal(TuningError, open_storage, "postgresql://me:secret@127.0.0.1:1/none")
    assert text.startswith("cannot use --storage postgresql+psycopg://me:***@127.0.0.1:1/none: ")
    assert text.endswith("; check the URL and that the server runs")
    assert "secret" not in text


@pytest.mark.parametrize("name", ["median", "third", "hyperband", "halving"])
def test_pruners_stop_the_worse_and_spare_the_better(name):
    # Hyperband deals trials into brackets by the study's name, which is a random one unless given.
    study = optuna.create_study(study_name="pruners", direction="maximize", pruner=make_pruner(name, 9, 3))
    for value in (0.60, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68):
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(value + epoch / 1000, epoch)
            trial.should_prune()  # halving notes its rungs when asked
        study.tell(trial, value)

    def stopped_at(value: float) -> int:
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(value + epoch / 1000, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return epoch
        study.tell(trial, value)
        return 10

    assert min(stopped_at(0.51) for _ in range(3)) < 5
    assert stopped_at(0.75) == 10
