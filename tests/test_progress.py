"""Progress in a log: what is written when, told by a clock that the tests move."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest

from poster_ml.progress import progress, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """What tqdm reads in the place of time.time."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("tqdm.std.time", lambda: clock.now)
    return clock


@pytest.fixture
def lines(monkeypatch):
    """What the log receives where stderr is not a terminal."""
    written = io.StringIO()
    logger = logging.getLogger("poster_ml.progress")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(written)])
    level = logger.level
    logger.setLevel(logging.INFO)
    yield lambda: written.getvalue().splitlines()
    logger.setLevel(level)


def work(clock, items, seconds):
    for item in items:
        clock.now += seconds
        yield item


def test_a_log_gets_a_line_at_the_start_and_one_every_half_minute(clock, lines, capsys):
    items = progress(work(clock, range(400), 0.25), "decoding posters", total=400)
    assert next(items) == 0
    assert lines() == ["decoding posters: 0 of 400"]
    assert list(items) == list(range(1, 400))
    assert lines()[1:] == [
        "decoding posters: 120 of 400 (30%), about 70 s left",
        "decoding posters: 240 of 400 (60%), about 40 s left",
        "decoding posters: 360 of 400 (90%), about 10 s left",
        "decoding posters: 400 done in 2 min",
    ]
    assert capsys.readouterr().err == "", "no control characters in a log"


@pytest.mark.parametrize(
    ("count", "seconds", "options", "said"),
    [
        (3, 3600.0, {"total": 3}, [
            "work: 0 of 3", "work: 1 of 3 (33%), about 2.0 h left", "work: 2 of 3 (67%), about 60 min left",
            "work: 3 done in 3.0 h",
        ]),
        (5, 10.0, {}, ["work", "work: 3 so far", "work: 5 done in 50 s"]),  # nobody knows how many there are
        (0, 0.0, {"total": 0}, []),  # nothing to do is not worth a line
        (29, 1.0, {"total": 29, "brief": True}, []),  # nor is brief work that does not take long
        (60, 1.0, {"total": 60, "brief": True}, [
            "work: 30 of 60 (50%), about 30 s left", "work: 60 done in 60 s",
        ]),
    ],
)  # fmt: skip
def test_what_a_log_is_told_of_slow_unknown_no_and_brief_work(clock, lines, count, seconds, options, said):
    list(progress(work(clock, range(count), seconds), "work", **options))
    assert lines() == said


def test_what_an_earlier_process_did_counts_as_done_and_not_for_the_speed(clock, lines):
    with progress_bar(100, "running the frozen layers", initial=50) as bar:
        for _ in range(25):
            clock.now += 2.0
            bar.update()
    assert lines()[:2] == [
        "running the frozen layers: 50 of 100",
        "running the frozen layers: 65 of 100 (65%), about 70 s left",
    ]


def test_a_sign_of_life_is_given_while_nothing_is_finished(clock, lines):
    with progress_bar(10, "trials") as bar:
        for _ in range(61):
            clock.now += 1.0
            bar.update(0)
    assert lines()[:3] == ["trials: 0 of 10"] * 3


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_silences_lines_and_bars(clock, lines, monkeypatch, capsys, terminal):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert list(progress(work(clock, range(100), 1.0), "scoring", total=100)) == list(range(100))
    assert lines() == []
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_is_cleared_at_the_end_and_no_lines(clock, lines, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(progress(work(clock, range(100), 1.0), "scoring", total=100))
    assert lines() == []
    drawn = capsys.readouterr().err
    assert "scoring:   0%" in drawn
    assert drawn.split("\r")[-2].strip() == drawn.split("\r")[-1].strip() == ""


def test_every_use_of_tqdm_goes_through_this_module(project):
    files = sorted([*project.glob("poster_ml/**/*.py"), *project.glob("benchmarks/*.py")])
    assert len(files) > 150, "the test looks at the wrong folder"
    imports = re.compile(r"^\s*(from|import) tqdm", re.MULTILINE)
    assert [file.name for file in files if imports.search(file.read_text())] == ["progress.py"]
