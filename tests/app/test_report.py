"""The page of an evaluation in a browser, as whoever is sent the file sees it."""

import pandas
import pytest

from poster_ml.evaluation.page import PageSection, write_page
from tests.app.accessibility import barriers


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_a_report_is_readable_by_everyone_on_every_screen_and_on_paper(browser, tmp_path, media, scheme):
    table = pandas.DataFrame([["Drama", "0.71"]], columns=["Genre", "ROC AUC"])
    section = PageSection("Slices", findings=["A finding."], paragraphs=["A paragraph."], table=table)
    headlines = [("ROC AUC", "0.700", "0.65 to 0.75; chance .500")]
    report = write_page(tmp_path / "report.html", "poster-cnn", "test, 90 posters", headlines, [section])
    page = browser.new_page(color_scheme=scheme)
    page.emulate_media(media=media)
    page.goto(report.as_uri())
    assert barriers(page) == []
    page.close()
