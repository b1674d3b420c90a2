from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas
import pytest

from poster_ml.evaluation.model_card import model_card_markdown
from poster_ml.evaluation.page import (
    Headline,
    PageFigure,
    PageSection,
    ReportPage,
    evaluation_page,
    metric_rows,
    write_page,
)
from poster_ml.evaluation.report_files import EvaluationResult, References, write_evaluation
from poster_ml.evaluation.stats import Interval
from poster_ml.evaluation.verdicts import verdict_sentences
from poster_ml.figures import new_figure, save_figure


def movies(count: int, seed: int) -> pandas.DataFrame:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return pandas.DataFrame(
        {
            "movie_id": [f"tt{seed}_{number}" for number in range(count)],
            "year": 1990 + 10 * labels + random.integers(0, 12, count),
            "genres": np.where(random.random(count) < 0.5, "Drama", "Comedy"),
            "label": labels,
        }
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    posters = movies(120, 1)
    noise = np.random.default_rng(0).normal(size=120)
    return write_evaluation(
        tmp_path_factory.mktemp("evaluation"),
        posters,
        1 / (1 + np.exp(-(2 * (posters["label"].to_numpy() - 0.5) + noise))),
        threshold=0.5,
        repeats=100,
        confidence=0.95,
        seed=0,
        references=References(train=movies(200, 2)),
    )


class Reader(HTMLParser):
    """Collects tags in order, their attributes, and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> tuple[str, Reader]:
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


def test_the_page_of_an_evaluation_is_whole_and_loads_nothing(
    result: EvaluationResult, tmp_path: Path
) -> None:
    page = evaluation_page(result, title="vgg16", subtitle="test", facts={"git_commit": "abc"})
    text, reader = read(write_page(tmp_path / "deep" / "report.html", page))
    images = [attributes for tag, attributes in reader.seen if tag == "img"]
    assert len(images) == 5
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in images)
    assert all(len(str(image["alt"])) > 20 for image in images)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in reader.seen)
    assert re.search(r"(?:src|href)=\"(?!data:)|url\(|@import", text) is None
    auc = result.intervals["roc_auc"]
    assert f"<td>{auc.text()}</td>" in text
    assert f"majority {result.majority_accuracy:.3f}" in text
    assert text.index("All numbers") < text.index("<img") < text.index("What was run")


def test_text_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    nasty = '<script>alert("1")</script> & "x"'
    figure, _ = new_figure()
    picture = save_figure(figure, tmp_path / "a.png")
    page = ReportPage(
        title=nasty,
        subtitle=nasty,
        headlines=[Headline(nasty, nasty, nasty)],
        verdicts=[nasty],
        metrics=[(nasty, nasty)],
        sections=[
            PageSection(
                nasty, [PageFigure(picture, nasty, nasty, True)], [nasty], [nasty], [[nasty, nasty]], nasty
            )
        ],
        facts={nasty: nasty},
        notes=[nasty],
    )
    text, reader = read(write_page(tmp_path / "report.html", page))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 20
    assert [attributes["alt"] for tag, attributes in reader.seen if tag == "img"] == [nasty]


def test_an_empty_page_is_a_page(tmp_path: Path) -> None:
    text, _ = read(write_page(tmp_path / "report.html", ReportPage("title", "subtitle")))
    assert "<h2>" not in text


def with_auc(result: EvaluationResult, low: float, high: float) -> str:
    intervals = result.intervals | {"roc_auc": Interval((low + high) / 2, low, high)}
    return " ".join(verdict_sentences(replace(result, intervals=intervals)))


def test_the_verdict_follows_the_interval(result: EvaluationResult) -> None:
    assert "It is not shown that the model does better than chance" in with_auc(result, 0.48, 0.56)
    assert "lies above chance" in with_auc(result, 0.51, 0.56)
    assert "ranks posters worse than chance" in with_auc(result, 0.40, 0.49)


def test_the_verdict_on_metadata_follows_both_intervals(result: EvaluationResult) -> None:
    assert result.gain is not None
    metadata, unpaired = result.baselines["year_genre"].roc_auc, replace(result, gain=None)
    for low, high, words in (
        (-0.09, -0.01, "It knows less than year and genres alone"),
        (0.01, 0.09, "It beats year and genres alone"),
        (-0.02, 0.04, "It cannot be told apart from year and genres alone"),
    ):
        gain = replace(result.gain, poster_over_metadata=Interval((low + high) / 2, low, high))
        text = with_auc(replace(result, gain=gain), 0.5, 0.99)  # the marginal intervals decide nothing
        assert words in text
        assert f"({low:+.3f} to {high:+.3f}) on the same posters" in text
    result = unpaired
    assert "It knows less than year and genres alone" in with_auc(result, 0.1, metadata.low - 0.01)
    assert "It beats year and genres alone" in with_auc(result, metadata.high + 0.001, 1.0)
    assert "the intervals overlap" in with_auc(result, 0.5, metadata.low + 0.01)
    assert "year and genres" not in with_auc(replace(result, baselines={}, gain=None), 0.5, 0.6)


def test_the_verdict_on_the_gain_and_the_majority(result: EvaluationResult) -> None:
    assert result.gain is not None
    none = replace(result.gain, gain=Interval(0.004, -0.002, 0.01), optimistic=False)
    text = " ".join(verdict_sentences(replace(result, gain=none)))
    assert "quote that of test" not in text
    chosen_on = replace(result, gain=replace(none, optimistic=True))
    assert "so the gain is too high: quote that of test." in " ".join(verdict_sentences(chosen_on))
    assert any("too high, these posters chose the epoch" in name for name, _ in metric_rows(chosen_on))
    assert (
        "It is not shown that the poster adds anything to year and genres: ROC AUC changes by "
        "+0.004 (-0.002 to +0.010)." in text
    )
    assert "cannot be told apart" in " ".join(
        verdict_sentences(replace(result, majority_accuracy=result.intervals["accuracy"].estimate))
    )


def test_the_model_card_has_the_numbers_and_keeps_its_tables(result: EvaluationResult) -> None:
    text = model_card_markdown(
        result,
        name="poster-vgg16",
        split="test",
        facts={"variant": "a|b\nc"},
        training_data="200 posters.",
        extra_limits=["Synthetic posters."],
    )
    assert text.startswith("# poster-vgg16\n")
    assert "## How good it is: test, 120 posters (50.0% Fresh)" in text
    assert f"| ROC AUC | {result.intervals['roc_auc'].text()} |" in text
    assert "| variant | a\\|b c |" in text
    assert "- Synthetic posters." in text
