import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from PIL import Image

from poster_ml.evaluation.baselines import cross_fitted, fit_baselines
from poster_ml.evaluation.findings import finding_sentences, headlines, metric_rows, score_rows
from poster_ml.evaluation.page import PageSection, render, write_page
from poster_ml.evaluation.report_files import EvaluationResult, References
from poster_ml.evaluation.stats import Interval
from poster_ml.figures import new_figure, save_figure
from tests.evaluation.worlds import evaluate, movies, said


@pytest.fixture(scope="module")
def result(tmp_path_factory, undrawn):
    train, posters = movies(200, 2), movies(120, 1)
    baselines, notes = fit_baselines(train, posters, seed=0)
    combination = cross_fitted(train, posters, said(posters, 2.0), seed=0)
    references = References(0.6, baselines, combination, notes)
    return evaluate(tmp_path_factory.mktemp("evaluation"), posters, references, strength=2.0)


class Reader(HTMLParser):
    """Collects tags in order, their attributes, and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> tuple[str, Reader]:
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


def picture(path: Path) -> Path:
    return save_figure(new_figure()[0], path)


def test_every_picture_is_inside_the_page_with_its_size_and_words(tmp_path):
    figures = {picture(tmp_path / "a.png"): "ROC curve", tmp_path / "b.jpg": "A poster"}
    Image.new("RGB", (30, 40)).save(tmp_path / "b.jpg")
    section = PageSection("Figures", figures=figures)
    text, reader = read(write_page(tmp_path / "deep" / "report.html", "a", "b", sections=[section]))
    first, second = (attributes for tag, attributes in reader.seen if tag == "img")
    assert str(first["src"]).startswith("data:image/png;base64,iVBOR")
    assert (first["alt"], second["alt"]) == ("ROC curve", "A poster")
    assert str(second["src"]).startswith("data:image/jpeg;base64,")
    assert (second["width"], second["height"]) == ("30", "40")
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in reader.seen)
    assert re.search(r"(?:src|href)=\"(?!data:|#)|url\(|@import", text) is None, "the page loads nothing"


def test_a_movie_title_with_a_script_in_it_shows_as_text(tmp_path):
    title = '<script>alert("1")</script> & "x"'
    section = PageSection(
        title,
        findings=[title],
        paragraphs=[title],
        figures={picture(tmp_path / "a.png"): title},
        table=pandas.DataFrame([[title, title]], columns=[title, title]),
    )
    page = write_page(tmp_path / "report.html", title, title, [(title, title, title)], [section])
    text, reader = read(page)
    assert "script" not in {tag for tag, _ in reader.seen}
    assert "<script" not in text
    assert [attributes["alt"] for tag, attributes in reader.seen if tag == "img"] == [title]
    shown = " ".join(reader.texts)
    # Title twice, subtitle, 3 of the headline, contents, heading, finding, paragraph, caption, 4 cells.
    assert shown.count(title) == 15


def test_the_contents_lead_to_every_section_and_wide_tables_scroll_and_are_reached_by_keyboard(tmp_path):
    table = pandas.DataFrame({"a": ["1"], "b": ["2"], "c": ["3"]})
    sections = [PageSection("First", ["found"]), PageSection("Empty"), PageSection("Second", table=table)]
    text, reader = read(write_page(tmp_path / "report.html", "title", "sub", sections=sections))
    assert [tag for tag, _ in reader.seen if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h2"]
    assert "Empty" not in text
    links = [attributes["href"] for tag, attributes in reader.seen if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in reader.seen if tag == "section"]
    assert len(links) == 2
    place = reader.seen.index(("table", {"class": "data"}))
    reached = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Second"}
    assert reader.seen[place - 1] == ("div", reached)
    assert ".scroll { overflow-x: auto; }" in text


def test_the_headlines_stand_beside_what_they_must_beat(result):
    names = ("roc_auc", "accuracy", "baseline_year_genre_roc_auc")
    numbers = [f"{result.intervals[name].estimate:.3f}" for name in names]
    assert [number for _, number, _ in headlines(result)] == [*numbers, f"{result.gain.estimate:+.3f}"]
    endings = [detail.rsplit("; ", 1)[-1] for _, _, detail in headlines(result)]
    assert endings[:2] == ["chance .500", "majority 0.600"]
    own = {name: result.intervals[name] for name in ("roc_auc", "accuracy")}
    assert len(headlines(replace(result, intervals=own))) == 2


def told(result: EvaluationResult, **ends: tuple[float, float]) -> EvaluationResult:
    """The same with other intervals, by their ends."""
    changed = {name: Interval(sum(pair) / 2, *pair) for name, pair in ends.items()}
    return replace(result, intervals=result.intervals | changed)


def sentences(result: EvaluationResult, **ends: tuple[float, float]) -> str:
    return " ".join(finding_sentences(told(result, **ends)))


def test_the_findings_follow_the_intervals(result):
    for name, low, high, words in (
        ("roc_auc", 0.48, 0.56, "not shown that the model does better than chance: the 95% int"),
        ("roc_auc", 0.51, 0.56, "lies above chance"),
        ("roc_auc", 0.40, 0.49, "ranks posters worse than chance"),
        ("accuracy", 0.55, 0.65, "cannot be told apart from the 0.600"),
        ("poster_over_metadata", -0.09, -0.01, "It knows less than year and genres alone"),
        ("poster_over_metadata", 0.01, 0.09, "It beats year and genres alone"),
        ("poster_over_metadata", -0.02, 0.04, "It cannot be told apart from year and genres alone"),
    ):
        # The marginal intervals decide nothing about the metadata.
        text = sentences(result, **{"roc_auc": (0.5, 0.99), name: (low, high)})
        assert words in text
        assert name != "poster_over_metadata" or f"({low:+.3f} to {high:+.3f}) on the same posters" in text
    own = {name: one for name, one in result.intervals.items() if "poster" not in name}
    assert "year and genres" not in sentences(replace(result, intervals=own))


def test_a_gain_on_the_posters_that_chose_the_epoch_is_called_too_high(result):
    small = told(result, poster_beyond_metadata_auc_gain=(-0.002, 0.01))
    combination = replace(result.references.combination, optimistic=False)
    text = sentences(replace(small, references=replace(result.references, combination=combination)))
    assert "not shown that the poster adds anything to year and genres: ROC AUC changes by +0.004 (-0" in text
    assert "quote that of test" not in text
    assert "so the gain is too high: quote that of test." in sentences(small)
    assert any("too high, these posters chose the epoch" in name for name, _ in metric_rows(small))


def card(result: EvaluationResult) -> str:
    texts = {"name": "poster-vgg16", "split": "test", "training_data": "200 posters."}
    values = {"facts": {}, "limits": [], "scores": score_rows(result), "notes": result.notes}
    said = {"findings": finding_sentences(result), "metrics": metric_rows(result)}
    return render("model_card.md.j2", result=result, **texts, **values, **said)


def test_a_genre_named_like_markup_is_text_in_the_model_card(result):
    auc = Interval(0.4, 0.3, 0.5).columns("roc_auc")
    worst = pandas.DataFrame([{"slice": "genre", "value": "<img src=x>", "posters": 30, **auc}])
    text = card(replace(result, worst=worst))
    assert "- It is weakest on genre: &lt;img src=x>" in text
    assert "<img" not in text


def test_the_card_says_nothing_of_years_and_genres_that_were_not_measured(tmp_path):
    train, posters = (movies(60, seed)[["movie_id", "label"]] for seed in (2, 3))
    baselines, notes = fit_baselines(train, posters, seed=0)
    result = evaluate(tmp_path, posters, References(0.6, baselines, None, notes))
    about = card(result).partition("## What it was fitted on")[2]  # before it stands what the model takes
    lines = [line for line in about.splitlines() if re.search("year|genre", line, re.IGNORECASE)]
    assert len(lines) == 3
    assert all(line.startswith("No baseline of ") for line in lines), "only that they were not measured"
