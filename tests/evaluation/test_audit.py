"""The audit finds planted shortcuts, stays silent without them, and counts rightly."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from poster_ml.evaluation.audit import class_balance, property_associations, write_audit
from poster_ml.evaluation.stats import delong_interval, wilson_interval
from poster_ml.synthetic.writing import Confounders, write_posters


def synthetic(folder: Path, count: int, **strengths: float) -> SimpleNamespace:
    """What the audit needs of a dataset: images and index."""
    write_posters(folder, count=count, width=64, height=96, confounders=Confounders(**strengths))
    index = pd.read_csv(folder / "movies.csv")
    index = index.assign(
        label=(index["tomatometer_status"] == "Fresh").astype(int),
        split=np.resize(["train", "train", "val", "test"], count),
        width=64,
        height=96,
        year=index["year"].astype("Int64"),
    )
    paths = [folder / "posters" / f"{name}.jpg" for name in index["movie_id"]]
    images = np.stack([np.asarray(Image.open(path).resize((48, 48))) for path in paths])
    return SimpleNamespace(images=images, index=index)


def test_balance_counts_a_poster_in_each_of_its_genres_once():
    index = pd.DataFrame({"label": [1, 0, 1, 1], "genres": ["Drama|War", "Drama|Drama", None, ""]})
    table = class_balance(index, "genre").set_index("value")
    assert table.index.tolist() == ["Drama", "War", "unknown"]
    assert table[["posters", "fresh", "rotten"]].to_numpy().tolist() == [[2, 1, 1], [1, 1, 0], [2, 2, 0]]


@pytest.mark.parametrize(
    ("by", "column", "values", "groups"),
    [
        ("decade", "year", [1999, 1990, 2001, None], ["1990s", "2000s", "unknown"]),
        ("decade", "year", [0, 0, 0, 0], ["unknown"]),
        ("year", "year", [1999, 1990, 2001, None], ["1990", "1999", "2001", "unknown"]),
        ("split", "split", ["val", "test", "train", "train"], ["train", "val", "test"]),
    ],
)
def test_groups_come_in_order_and_what_is_not_known_last(by, column, values, groups):
    table = class_balance(pd.DataFrame({"label": [1, 0, 1, 0], column: values}), by, 0.8)
    assert table["value"].tolist() == groups
    assert table["posters"].sum() == 4
    for row in table.to_dict("records"):
        expected = wilson_interval(row["fresh"], row["posters"], 0.8)
        assert (row["fresh_share"], row["ci_low"]) == (expected.estimate, expected.low)


def test_association_agrees_with_scikit_learn_and_knows_the_direction():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    properties = pd.DataFrame({"noise": random.normal(size=400), "lower": -labels + random.normal(size=400)})
    properties["rounded"] = properties["lower"].round()  # ties
    table = property_associations(properties, labels, np.zeros(400)).set_index("property")
    for name in properties:
        assert table.loc[name, "auc"] == pytest.approx(roc_auc_score(labels, properties[name]))
        assert table.loc[name, "auc_within_strata"] == pytest.approx(table.loc[name, "auc"])
    assert table["verdict"].to_dict() == {"lower": "strong", "rounded": "strong", "noise": "none"}
    assert table.loc["lower", "ci_high"] < 0.5
    assert table.index[0] == "lower"


def test_verdicts_and_intervals_go_by_the_confidence_asked_for():
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, 300)
    values = pd.DataFrame({"x": 0.3 * labels + random.normal(size=300)})
    wide, narrow = (property_associations(values, labels, labels * 0, at).iloc[0] for at in (0.999, 0.8))
    assert 0.001 < narrow["p_adjusted"] < 0.2
    assert (wide["verdict"], narrow["verdict"]) == ("none", "weak")
    interval = delong_interval(labels, values["x"], 0.8)
    assert (narrow["ci_low"], narrow["ci_high"]) == (interval.low, interval.high)


def test_what_the_decade_explains_vanishes_within_decades():
    random = np.random.default_rng(2)
    decade = random.integers(0, 2, 2000)
    labels = (random.random(2000) < np.where(decade == 0, 0.9, 0.3)).astype(int)
    brightness = pd.DataFrame({"brightness": random.normal(size=2000) - 1.5 * decade})
    row = property_associations(brightness, labels, decade).iloc[0]
    assert row["auc"] > 0.65
    assert row["auc_within_strata"] == pytest.approx(0.5, abs=0.05)


def test_many_idle_properties_raise_no_alarm():
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 300)
    idle = pd.DataFrame(random.normal(size=(300, 100)), columns=[f"p{n}" for n in range(100)])
    table = property_associations(idle, labels, labels * 0)
    assert (table["p_value"] < 0.05).sum() >= 2  # what an uncorrected look would have called
    assert (table["verdict"] == "none").all()


def test_constants_gaps_and_single_classes_are_not_asked():
    labels = np.array([0, 1] * 10)
    properties = pd.DataFrame({"constant": [3.0] * 20, "gaps": [np.nan, 1.0] * 10, "fine": np.arange(20.0)})
    table = property_associations(properties, labels, labels * 0).set_index("property")
    assert table.loc[["constant", "gaps"], "verdict"].tolist() == ["not asked", "not asked"]
    assert table.loc["gaps", "posters"] == 10
    assert table.loc["fine", "p_adjusted"] == table.loc["fine", "p_value"]  # one question asked


def test_a_planted_mark_in_the_corner_is_found_and_everything_is_written(tmp_path):
    dataset = synthetic(tmp_path / "posters", 160, shortcut=1.0)
    findings, files = write_audit(dataset, tmp_path / "audit")
    table = pd.read_csv(tmp_path / "audit" / "property_associations.csv", index_col="property")
    verdicts = table.loc[["corner_top_right", "corner_bottom_left", "source_width"], "verdict"]
    assert verdicts.tolist() == ["strong", "none", "not asked"]
    assert any("corner_top_right" in finding for finding in findings if finding.startswith("strong"))
    assert set(files) == set((tmp_path / "audit").iterdir())
    assert {path.name for path in files} == {
        "balance_split.csv", "balance_year.csv", "balance_decade.csv", "balance_genre.csv", "properties.csv",
        "property_associations.csv", "balance_decade.png", "balance_genre.png", "property_associations.png",
        "audit.json",
    }  # fmt: skip
    features = pd.read_csv(tmp_path / "audit" / "properties.csv")
    assert features["movie_id"].tolist() == dataset.index["movie_id"].tolist()
    assert {"region_count", "foreground_share", "source_aspect"} <= set(features.columns)
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (record["posters"], record["fresh_share"]) == (160, dataset.index["label"].mean())
    assert record["findings"] == list(findings)


def test_one_class_and_no_years_still_give_an_audit(tmp_path):
    dataset = synthetic(tmp_path / "posters", 20)
    dataset.index["label"], dataset.index["genres"] = 1, None
    dataset.index["year"] = pd.array([None] * 20, "Int64")
    findings, _ = write_audit(dataset, tmp_path / "audit")
    assert findings[-2:-1] == ("weak association with the label: no property",)
    assert findings[0] == "20 posters, 100.0% Fresh: always saying Fresh is right 100.0%"
