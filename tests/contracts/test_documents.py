"""The figures in docs/ are those of the exported records beside them, and the records hold no place of a machine."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GAIN = ("gain", "gain_ci_low", "gain_ci_high")
RECORDS = ("runs.json", "suite_runs.json", "ablation_runs.json")


def records(project: Path, name: str) -> list[dict[str, Any]]:
    return list(json.loads((project / "docs" / "results" / name).read_text())["runs"])


def table_rows(page: Path) -> list[list[str]]:
    """The cells of every row of every table of a page."""
    lines = page.read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def short(value: float) -> str:
    """.123, as the pages print it."""
    return f"{value:.3f}".replace("0.", ".", 1)


def interval(metrics: dict[str, float], name: str) -> str:
    low, high = metrics[f"{name}_ci_low"], metrics[f"{name}_ci_high"]
    return f"{short(metrics[name])} ({short(low)} to {short(high)})"


@pytest.mark.parametrize("name", RECORDS)
def test_records_hold_numbers_and_no_places(project, name):
    runs = records(project, name)
    assert len(runs) >= 3
    for run in runs:
        texts = [*run["params"].values(), *run["tags"].values(), run["name"]]
        absolute = [text for text in texts if re.search(r"(^|[ =:])/\w+/", text) or "file://" in text]
        assert not absolute, (run["name"], absolute)
        assert run["metrics"], run["name"]
        assert run["params"], run["name"]


def test_every_line_of_the_ablation_and_what_was_read_on_test_stand_in_their_records(project):
    runs = {run["name"]: run["metrics"] for run in records(project, "ablation_runs.json")}
    reference = {run["name"]: run["metrics"] for run in records(project, "runs.json")}["inception_taps"]
    seen, read = set(), set()
    for cells in table_rows(project / "docs" / "ablation.md"):
        name = (re.findall(r"`([^`]+)`", cells[0]) or [""])[-1]
        if len(cells) == 6 and cells[0].endswith("`)"):
            assert cells[1].strip("*") == interval(runs[name], "val_roc_auc"), cells[0]
            assert cells[3] == short(runs[name]["val_accuracy"]), cells[0]
            seen.add(name)
        elif len(cells) == 4 and name in runs:
            metrics = reference if name == "inception_taps" else runs[name]
            assert cells[1] == interval(metrics, "test_roc_auc"), cells[0]
            assert cells[2] == short(metrics["test_accuracy"]), cells[0]
            read.add(name)
    assert seen == set(runs)
    assert len(read) >= 4


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    return page.read_text().split(f"{heading}", 1)[1].split("\n#", 1)[0]


def test_the_suite_tables_follow_from_the_runs_of_their_seeds(project):
    """Number of seeds, mean and spread; which protocol a table shows, the heading above it says."""
    runs = records(project, "suite_runs.json")
    counted = 0
    for protocol in ("study", "sound"):
        lines = section(project / "docs" / "results.md", f"### The {protocol} protocol").splitlines()
        for name, line in ((found[1], line) for line in lines if (found := re.match(r"\| `(\w+)`", line))):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            own = {"protocol": protocol, "variant": name}
            tried = [run["metrics"] for run in runs if run["params"].items() >= own.items()]
            assert cells[1] == str(len(tried)), own
            for column, metric in ((-4, "val_accuracy"), (-3, "val_roc_auc")):
                values = [metrics[metric] for metrics in tried]
                assert float(cells[column].split()[0]) == pytest.approx(np.mean(values), abs=6e-4), (
                    own,
                    metric,
                )
                if len(values) > 1:
                    spread = short(float(np.std(values, ddof=1)))
                    assert cells[column].endswith(f"± {spread}"), (own, metric, spread)
            seconds = float(np.mean([metrics["epoch_seconds"] for metrics in tried]))
            assert cells[-1] == f"{seconds:.{0 if seconds >= 10 else 1}f}", own
            counted += len(tried)
    assert counted == len(runs)


def test_the_figures_out_of_fold_are_those_of_the_cross_validations(project):
    shown = section(project / "docs" / "results.md", "## All posters, out of fold")
    runs = [run for run in records(project, "folds_runs.json") if run["tags"]["kind"] == "folds"]
    seen = 0
    for run in runs:
        for name in run["params"]["variants"].split(","):
            own = {key.removeprefix(f"{name}."): value for key, value in run["metrics"].items()}
            row = [interval(own, key) for key in ("roc_auc", "accuracy", "combined_roc_auc")]
            gain, *ends = (f"{own[key]:+.3f}".replace("0", "", 1) for key in GAIN)
            row.append(f"{gain} ({' to '.join(ends)})")
            assert f"| {' | '.join(row)} |" in shown, (run["run_id"], name)
            assert interval(own, "metadata_roc_auc") in shown
            seen += 1
    assert seen == 3 + 4


def test_every_source_file_that_a_page_names_exists(project):
    pages = [project / "README.md", *(project / "docs").glob("*.md")]
    source = re.compile(r"\b(?:poster_ml|tests|benchmarks|experiments)/[\w/.]*\.(?:py|yaml)\b")
    named = [(page.name, path) for page in pages for path in source.findall(page.read_text())]
    assert [(page, path) for page, path in named if not (project / path).is_file()] == []
    assert len(named) > 25
