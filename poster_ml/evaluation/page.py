"""One page about one run: numbers, then figures, then examples; one HTML file that loads nothing."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from poster_ml.evaluation.page_style import STYLE
from poster_ml.evaluation.report_files import EvaluationResult
from poster_ml.evaluation.stats import Interval
from poster_ml.evaluation.verdicts import verdict_sentences
from poster_ml.files import atomic_path

METRIC_LABELS = {
    "accuracy": "Accuracy",
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "Balanced accuracy",
    "average_precision": "Average precision",
    "f1": "F1 of Fresh",
    "log_loss": "Log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece": "Calibration error, ECE (lower is better)",
}
BASELINE_NAMES = {
    "year": "Year alone",
    "genre": "Genres alone",
    "year_genre": "Year + genres",
    "colour": "Colour histogram",
}
FIGURE_CAPTIONS = {
    "roc.png": ("ROC curve", "How many Fresh posters are found for how many Rotten ones taken along."),
    "precision_recall.png": ("Precision and recall", "How pure the list of Fresh posters is as it grows."),
    "confusion_matrix.png": ("Confusion matrix", "True class by row, what the model called it by column."),
    "calibration.png": ("Calibration", "Whether posters given 70 % turn out Fresh 70 % of the time."),
    "slices.png": ("Slices", "ROC AUC by group of posters."),
}


@dataclass(frozen=True)
class Headline:
    """One large number: what it is, the number, and what stands under it."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class PageFigure:
    """One PNG or JPEG; `alt` is read aloud, `caption` is printed below. `wide` takes the whole width."""

    path: Path
    caption: str
    alt: str
    wide: bool = False


@dataclass(frozen=True)
class PageSection:
    """A heading with figures, a table and text; every part may be empty."""

    title: str
    figures: Sequence[PageFigure] = ()
    text: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    preformatted: str = ""


@dataclass(frozen=True)
class ReportPage:
    """What the page shows, from top to bottom; all of it plain text that is escaped when written.

    headlines: two to four numbers; verdicts: sentences; metrics: (name, value with interval) rows;
    facts: name and value of what was run (configuration, dataset, commit, times).
    """

    title: str
    subtitle: str
    headlines: Sequence[Headline] = ()
    verdicts: Sequence[str] = ()
    metrics: Sequence[tuple[str, str]] = ()
    sections: Sequence[PageSection] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def evaluation_page(
    result: EvaluationResult,
    *,
    title: str,
    subtitle: str,
    facts: Mapping[str, str],
    sections: Sequence[PageSection] = (),
    curves: Path | None = None,
) -> ReportPage:
    """Builds the page of one evaluation from its numbers and the files in its folder.

    Args:
        result: of `report_files.write_evaluation`.
        title, subtitle: for example the variant, and the split with the date.
        facts: printed at the end.
        sections: examples (class activation maps, activations), shown after the figures.
        curves: `curves/accuracy_loss.png`; left out where it does not exist.
    """
    figures = [
        PageFigure(result.folder / name, f"{label}. {caption}", alt_text(name, result))
        for name, (label, caption) in FIGURE_CAPTIONS.items()
        if name != "slices.png" and (result.folder / name).is_file()
    ]
    own: list[PageSection] = [PageSection("How well it separates Fresh from Rotten", figures)]
    if curves is not None and curves.is_file():
        alt = "Accuracy, loss and ROC AUC of training and validation by epoch, with the kept epoch marked"
        own.append(PageSection("Training", [PageFigure(curves, "Training and validation.", alt, wide=True)]))
    slices = result.folder / "slices.png"
    if slices.is_file():
        figure = PageFigure(slices, "ROC AUC by group of posters.", alt_text("slices.png", result), wide=True)
        own.append(PageSection("Where it is good and where it is bad", [figure]))
    return ReportPage(
        title=title,
        subtitle=subtitle,
        headlines=headlines(result),
        verdicts=verdict_sentences(result),
        metrics=metric_rows(result),
        sections=[*own, *sections],
        facts=facts,
        notes=result.notes,
    )


def headlines(result: EvaluationResult) -> list[Headline]:
    """Returns ROC AUC and accuracy beside what they must beat, and the gain over the metadata."""
    auc, accuracy = result.intervals["roc_auc"], result.intervals["accuracy"]
    found = [
        Headline("ROC AUC", f"{auc.estimate:.3f}", f"{_range(auc)}; chance .500"),
        Headline(
            "Accuracy",
            f"{accuracy.estimate:.3f}",
            f"{_range(accuracy)}; majority {result.majority_accuracy:.3f}",
        ),
    ]
    if "year_genre" in result.baselines:
        metadata = result.baselines["year_genre"].roc_auc
        found.append(
            Headline("Year + genres, no poster", f"{metadata.estimate:.3f}", f"AUC; {_range(metadata)}")
        )
    if result.gain is not None:
        gain = result.gain.gain
        found.append(
            Headline("Poster on top of these", f"{gain.estimate:+.3f}", f"AUC; {_range(gain, sign=True)}")
        )
    return found


def metric_rows(result: EvaluationResult) -> list[tuple[str, str]]:
    """Returns the table of all numbers, the model's first, then what it is compared with."""
    rows = [(label, result.intervals[name].text()) for name, label in METRIC_LABELS.items()]
    rows.append(("Accuracy of always naming the majority", f"{result.majority_accuracy:.3f}"))
    rows += [
        (f"{BASELINE_NAMES[name]}: ROC AUC", item.roc_auc.text()) for name, item in result.baselines.items()
    ]
    if result.gain is not None:
        rows.append(("Year + genres + poster: ROC AUC", result.gain.combined_auc.text()))
        caveat = "; too high, these posters chose the epoch" if result.gain.optimistic else ""
        rows.append((f"Gain by the poster ({result.gain.design}{caveat})", result.gain.gain.text(sign=True)))
    return rows


def alt_text(name: str, result: EvaluationResult) -> str:
    """Says in words what a figure of the evaluation folder shows."""
    texts = {
        "roc.png": f"ROC curve with area {result.intervals['roc_auc'].text()} beside the baselines",
        "precision_recall.png": "Precision against recall of Fresh, average precision "
        + result.intervals["average_precision"].text(),
        "confusion_matrix.png": f"Confusion matrix, accuracy {result.intervals['accuracy'].estimate:.3f}",
        "calibration.png": f"Reliability diagram, ECE {result.intervals['ece'].estimate:.3f}",
        "slices.png": f"ROC AUC with intervals of {len(result.slices)} slices",
    }
    return texts[name]


def _range(interval: Interval, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{interval.low:{form}} to {interval.high:{form}}"


def write_page(path: Path, page: ReportPage) -> Path:
    """Writes the page as one HTML file that shows the same everywhere, offline too.

    Args:
        path: the file to write; its folder is created.
        page: text is escaped; figures are put into the file (base64), each must exist.

    Returns: the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [_head(page), *(_section(section) for section in page.sections), _facts(page)]
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(document, encoding="utf-8")
    return path


def _head(page: ReportPage) -> str:
    cards = "".join(
        f'<div class="card"><dt>{escape(item.label)}</dt><dd>{escape(item.value)}'
        f"<small>{escape(item.detail)}</small></dd></div>"
        for item in page.headlines
    )
    verdicts = "".join(f"<li>{escape(sentence)}</li>" for sentence in page.verdicts)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in page.notes)
    table = _table(("Metric", "Value (interval)"), page.metrics)
    return (
        f'<header><h1>{escape(page.title)}</h1><p class="subtitle">{escape(page.subtitle)}</p></header>'
        + (f'<dl class="cards">{cards}</dl>' if cards else "")
        + (
            f"<section><h2>What this says</h2><ul>{verdicts}</ul>{notes}</section>"
            if verdicts or notes
            else ""
        )
        + (f"<section><h2>All numbers</h2>{table}</section>" if page.metrics else "")
    )


def _section(section: PageSection) -> str:
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    figures = "".join(_figure(figure) for figure in section.figures)
    table = _table(section.columns, section.rows) if section.rows else ""
    block = f"<pre>{escape(section.preformatted)}</pre>" if section.preformatted else ""
    grid = f'<div class="figures">{figures}</div>' if figures else ""
    return f"<section><h2>{escape(section.title)}</h2>{text}{grid}{table}{block}</section>"


def _figure(figure: PageFigure) -> str:
    content = figure.path.read_bytes()
    png = content.startswith(b"\x89PNG")
    source = f"data:image/{'png' if png else 'jpeg'};base64,{base64.b64encode(content).decode()}"
    size = ""
    if png:  # reserves the place, so that the page does not jump while it is drawn
        width, height = struct.unpack(">II", content[16:24])
        size = f' width="{width}" height="{height}"'
    kind = ' class="wide"' if figure.wide else ""
    return (
        f'<figure{kind}><img src="{source}" alt="{escape(figure.alt, quote=True)}"{size}>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{escape(cell)}</th>' if position == 0 else f"<td>{escape(cell)}</td>"
            for position, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    kind = ' class="data"' if len(columns) > 2 else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _facts(page: ReportPage) -> str:
    if not page.facts:
        return ""
    return f"<section><h2>What was run</h2>{_table(('What', 'Value'), list(page.facts.items()))}</section>"
