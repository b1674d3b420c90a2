"""The page in a browser: what people do on each tab, and what it says when that goes wrong."""

import base64
import csv
import io
import os
import re
import zipfile
import zlib
from pathlib import Path

import pytest

from poster_ml.app.sentences import hidden_box, percent
from poster_ml.serving.client import Question
from poster_ml.tracking.runs import search_runs
from tests.app.accessibility import barriers
from tests.pictures import declared_png, encode, poster

TABS = ("One poster", "Compare", "Many", "About")


def picture(seed: int) -> bytes:
    return encode(poster(seed, 180, 270), "JPEG")


def upload(page, tab: str, *files: tuple[str, bytes]) -> None:
    """Gives files to the field of a tab."""
    page.get_by_role("tab", name=tab).click()
    label = {"One poster": "Poster:", "Compare": "Designs:", "Many": "Posters or ZIP"}[tab]
    given = [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files]
    page.locator(".block", has_text=label).locator("input[type=file]").first.set_input_files(given)


def downloaded(page, link) -> str:
    """The text of a file that a click downloads."""
    with page.expect_download() as download:
        link.click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def drop(page, selector: str, name: str, content: bytes, event: str = "drop") -> None:
    """Lets go of a file over an element, or pastes it."""
    page.evaluate(
        """([selector, name, text, event]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], name, {type: 'image/jpeg'}));
            const options = {bubbles: true, cancelable: true};
            const happens = event === 'paste'
                ? new ClipboardEvent('paste', {...options, clipboardData: carried})
                : new DragEvent('drop', {...options, dataTransfer: carried});
            document.querySelector(selector).dispatchEvent(happens);
        }""",
        [selector, name, base64.b64encode(content).decode(), event],
    )


def answered(page) -> str:
    """The number of the answer, once it is there."""
    page.locator(".pm-answer").wait_for()
    return page.locator(".pm-number").inner_text()


def expected(served, content: bytes, **known) -> str:
    return percent(served.service.ask(Question([content], **known))[0]["probability_fresh"])


def left_behind(served) -> list[Path]:
    """Uploaded files that are still there; not the tables to download, nor the empty files that Gradio makes."""
    uploads = served.folder / "uploads"
    return [
        path
        for path in uploads.rglob("*")
        if path.is_file() and path.stat().st_size and path.suffix != ".csv"
    ]


def test_a_dropped_poster_is_answered_with_its_map_and_is_gone_from_the_disk(visit, served):
    page, content = visit(), picture(1)
    drop(page, "#poster button", "mine.jpg", content)
    assert answered(page) == expected(served, content)
    assert page.get_by_text(re.compile(r"Of \d+ posters that scored like this one")).count() == 1
    over = page.get_by_alt_text(re.compile("Map over the poster"))
    assert over.evaluate("one => one.naturalWidth") == 40
    assert page.get_by_alt_text("mine.jpg").bounding_box() == over.bounding_box()
    page.get_by_label("Map over the poster").fill("25")
    assert over.evaluate("one => getComputedStyle(one).opacity") == "0.25"
    assert left_behind(served) == []


def test_a_poster_is_pasted_and_examples_are_chosen_with_the_keyboard(visit, served):
    page, content = visit(), picture(2)
    drop(page, "body", "pasted.jpg", content, "paste")
    assert answered(page) == expected(served, content)
    page.get_by_role("button", name="Example 3").focus()
    page.keyboard.press("Enter")
    page.get_by_alt_text("synth00003.jpg").wait_for()
    example = sorted((served.folder / "examples" / "posters").iterdir())[2]
    assert answered(page) == expected(served, example.read_bytes())


def test_year_and_genres_add_what_the_poster_adds_to_them(visit, served):
    page, content = visit(), picture(3)
    upload(page, "One poster", ("mine.jpg", content))
    answered(page)
    page.get_by_label("Year, if known").fill("1999")
    said = page.get_by_text("Movies like it by year and genres")
    said.wait_for()
    row = served.service.ask(Question([content], year="1999"))[0]
    assert percent(row["probability_metadata"]) in said.inner_text()
    page.get_by_label("Year, if known").fill("soon")
    page.get_by_text("year 'soon' was ignored").wait_for()


def test_a_drawn_box_is_hidden_and_compared_with_boxes_elsewhere(visit, served):
    page, content = visit(), picture(4)
    upload(page, "One poster", ("mine.jpg", content))
    page.get_by_text("Hide a part of the poster").click()
    area = page.locator(".pm-stack")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.get_by_text("Without this part").wait_for()
    edges = [
        int(page.get_by_label(name, exact=True).input_value()) for name in ("Left", "Top", "Right", "Bottom")
    ]
    assert edges == pytest.approx([20, 50, 60, 80], abs=1)

    def said(edges):
        question = Question([content], params={"what_if": [edge / 100 for edge in edges]})
        return hidden_box(served.service.ask(question)[0]["what_if"][0])

    assert page.get_by_text("Without this part").inner_text() == said(edges)
    page.get_by_label("Right", exact=True).fill("100")  # the same with the keyboard
    page.get_by_role("button", name="What if this part were not there?").click()
    page.get_by_text(said([*edges[:2], 100, edges[3]])).wait_for()


def test_alike_posters_and_layers_are_there_to_leaf_through(visit, served):
    page, content = visit(), picture(5)
    upload(page, "One poster", ("mine.jpg", content))
    page.get_by_role("button", name="The most alike posters it was trained on").click()
    page.get_by_text(re.compile(r"\d of these 8 were Fresh")).wait_for()
    found = served.service.ask(Question([content], params={"neighbours": 8}))[0]["neighbours"]
    assert page.locator(".pm-neighbours li").count() == 8
    assert found[0]["title"] in page.locator(".pm-neighbours li").first.inner_text()
    assert page.locator(".pm-neighbours img").count() == 8
    page.get_by_role("button", name="Inside the network, layer by layer").click()
    first, second = served.service.layers
    page.get_by_alt_text(f"What the channels of the layer {first} answer to the poster.").wait_for()
    page.get_by_role("slider", name=re.compile("Layer, from")).press("ArrowRight")
    page.get_by_alt_text(f"What the channels of the layer {second} answer to the poster.").wait_for()


def test_designs_come_in_order_and_go_home_as_a_table_and_as_a_page(visit, served, tmp_path):
    page = visit()
    files = {f"design <{seed}>.jpg": picture(seed) for seed in (6, 7, 8)}
    upload(page, "Compare", *list(files.items())[:1])
    page.get_by_text("add at least one more").wait_for()
    upload(page, "Compare", *list(files.items())[1:])
    page.locator(".pm-designs li").nth(2).wait_for()
    rows = served.service.ask(Question(list(files.values()), params={"rank": True}))
    best = sorted(zip(rows, files, strict=True), key=lambda one: one[0]["rank"])
    names = [name.replace("<", "").replace(">", "") for _, name in best]  # as Gradio stores files
    assert page.locator(".pm-designs strong").all_inner_texts() == names
    assert page.locator(".pm-designs .pm-over").count() == 3
    assert page.locator(".pm-pairs li").count() == 2

    text = downloaded(page, page.get_by_role("link", name="Table (CSV)"))
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["design"] for row in table] == names
    assert [float(row["probability_fresh"]) for row in table] == [row["probability_fresh"] for row, _ in best]
    report = downloaded(page, page.get_by_role("link", name="Report (one page)"))
    assert report.count("<img") == 6
    assert not re.search(r'(src|href)="(?!data:)', report)
    page.get_by_role("button", name="Start again").click()
    page.get_by_text("Drop 2 to 12 designs of one movie").wait_for()
    assert left_behind(served) == []


def test_many_posters_are_rows_and_a_bad_file_is_one_of_them(visit, served):
    page, archive = visit(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for seed in range(40):  # more than a batch
            packed.writestr(f"posters/p{seed}.jpg", picture(seed))
        packed.writestr("posters/broken.jpg", b"no picture")
        packed.writestr("readme.txt", b"not looked at")
    upload(page, "Many", ("posters.zip", archive.getvalue()), ("notes.pdf", b"%PDF-1.7 no picture"))
    page.get_by_text("42 files, 2 of them could not be scored.").wait_for()
    page.get_by_role("gridcell", name="p0.jpg").first.wait_for()
    text = downloaded(page, page.get_by_role("button", name="All rows as CSV"))
    table = {row["file"]: row for row in csv.DictReader(io.StringIO(text))}
    assert len(table) == 42
    assert "not an image" in table["notes.pdf"]["error"]
    assert table["broken.jpg"]["probability_fresh"] == ""
    alone = served.service.ask(Question([picture(7)]))[0]["probability_fresh"]
    assert float(table["p7.jpg"]["probability_fresh"]) == pytest.approx(alone, abs=1e-5)
    assert left_behind(served) == []


def test_a_folder_is_as_good_as_its_files(visit, tmp_path):
    page = visit()
    for seed in (1, 2, 3):
        (tmp_path / f"p{seed}.jpg").write_bytes(picture(seed))
    page.get_by_role("tab", name="Many").click()
    page.locator(".block", has_text="A folder of posters").locator("input[type=file]").first.set_input_files(
        tmp_path
    )
    page.get_by_text("3 files, 0 of them could not be scored.").wait_for()


def test_a_server_that_is_gone_is_one_sentence_on_every_tab(visit, serve, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", os.environ["GRADIO_TEMP_DIR"])  # comes back for the other page
    from poster_ml.commands.app import built_page

    with built_page("", endpoint="http://127.0.0.1:9") as (blocks, folder):
        page = visit(address=serve(blocks, folder))
        upload(page, "One poster", ("mine.jpg", picture(1)))
        page.locator(".pm-problem", has_text="no answer from http://127.0.0.1:9/invocations").first.wait_for()
        upload(page, "Compare", ("one.jpg", picture(2)), ("two.jpg", picture(3)))
        page.locator(
            ".pm-problem:visible", has_text="no answer from http://127.0.0.1:9/invocations"
        ).wait_for()
        upload(page, "Many", ("one.jpg", picture(2)))
        page.get_by_text("1 files, 1 of them could not be scored.").wait_for()
        page.context.close()
        blocks.close(verbose=False)


def test_about_says_what_the_run_measured_and_what_the_model_is_not_for(visit):
    page = visit()
    page.get_by_role("tab", name="About").click()
    run = search_runs()[0]
    text = page.locator(".pm-about").inner_text()
    low, high = run.metrics["val_roc_auc_ci_low"], run.metrics["val_roc_auc_ci_high"]
    assert f"{run.metrics['val_roc_auc']:.3f} ({low:.3f} to {high:.3f})" in text
    assert "poster-cnn version 1" in text
    assert run.run_id in text
    assert run.tags["dataset.fingerprint"] in text
    assert "What it must not be used for" in text
    page.get_by_role("button", name="Model card").click()
    page.get_by_role("heading", name="Intended use").wait_for()


REFUSED = {
    "a.pdf": (b"%PDF-1.7 a document", "not an image"),
    "sixty.png": (declared_png(6000, 10000, zlib.compress(b"")), "too many pixels"),
    "large.jpg": (bytes(11_000_000), "at most 10 MB are accepted"),
    "empty.jpg": (b"", "empty"),
}


def test_what_is_no_poster_gets_one_sentence_and_the_page_lives_on(visit, served):
    page = visit()
    for name, (content, reason) in REFUSED.items():
        upload(page, "One poster", (name, content))
        said = page.locator(".pm-problem", has_text=reason)
        said.wait_for()
        assert "\n" not in said.inner_text()
        assert "Traceback" not in said.inner_text()
        page.get_by_role("button", name="Example 1").click()
        answered(page)
    assert left_behind(served) == []


def test_two_visitors_at_once_each_get_their_own_answer(visit, served):
    pages, contents = [visit(), visit(scheme="dark")], [picture(11), picture(12)]
    for page, content in zip(pages, contents, strict=True):
        drop(page, "#poster button", "mine.jpg", content)
    for page, content in zip(pages, contents, strict=True):
        assert answered(page) == expected(served, content)
    for page, content in zip(pages, contents, strict=True):  # what each says later is about its own, too
        page.get_by_label("Year, if known").fill("2005")
        page.get_by_text("Movies like it by year and genres").wait_for()
        assert answered(page) == expected(served, content)


def fill_tabs(page) -> None:
    upload(page, "One poster", ("mine.jpg", picture(13)))
    answered(page)
    page.get_by_text("Hide a part of the poster").click()
    page.get_by_role("button", name="The most alike posters it was trained on").click()
    page.get_by_role("button", name="Inside the network, layer by layer").click()
    page.locator(".pm-layer img").wait_for()
    upload(page, "Compare", ("one.jpg", picture(14)), ("two.jpg", picture(15)), ("three.txt", b"none"))
    page.locator(".pm-designs").wait_for()
    upload(page, "Many", ("one.jpg", picture(14)), ("two.txt", b"none"))
    page.get_by_text("2 files, 1 of them could not be scored.").wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_tab_is_readable_by_everyone_and_fits_the_screen(visit, width, scheme):
    page = visit(width, scheme)
    fill_tabs(page)
    found = []
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)  # for the colours to fade in
        found += [f"{tab}: {barrier}" for barrier in barriers(page)]
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert found == []
