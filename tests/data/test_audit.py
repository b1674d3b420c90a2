"""The audit finds planted shortcuts, stays silent without them, and counts rightly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from poster_ml.data.audit import class_balance, property_associations, write_audit
from poster_ml.synthetic.writing import Confounders, write_posters


@dataclass
class Dataset:
    images: np.ndarray
    index: pd.DataFrame


def synthetic(folder: Path, count: int, **strengths: float) -> Dataset:
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
    return Dataset(np.stack([np.asarray(Image.open(path).resize((48, 48))) for path in paths]), index)


def index_of(**columns: list) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_balance_counts_a_poster_in_each_of_its_genres_once() -> None:
    index = index_of(label=[1, 0, 1, 1], genres=["Drama|War", "Drama|Drama", None, ""])
    table = class_balance(index, "genre").set_index("value")
    assert table.index.tolist() == ["Drama", "War", "unknown"]
    assert table[["posters", "fresh", "rotten"]].to_numpy().tolist() == [[2, 1, 1], [1, 1, 0], [2, 2, 0]]


def test_balance_by_decade_and_year_puts_unknown_years_last() -> None:
    index = index_of(label=[1, 0, 1, 0], year=pd.array([1999, 1990, 2001, None], "Int64"))
    assert class_balance(index, "decade")["value"].tolist() == ["1990s", "2000s", "unknown"]
    assert class_balance(index, "year")["value"].tolist() == ["1990", "1999", "2001", "unknown"]
    assert class_balance(index.assign(year=0), "decade")["value"].tolist() == ["unknown"]


def test_splits_come_in_the_order_of_their_use() -> None:
    index = index_of(label=[1, 0, 1, 0], split=["val", "test", "train", "train"])
    assert class_balance(index, "split")["value"].tolist() == ["train", "val", "test"]


def test_intervals_are_wilsons() -> None:
    index = index_of(label=[1] * 8 + [0] * 2, split=["train"] * 10)
    row = class_balance(index, "split").iloc[0]
    # The ends solve |p - .8| = z sqrt(p (1 - p) / 10).
    for end in (row["ci_low"], row["ci_high"]):
        assert abs(end - 0.8) == pytest.approx(norm.ppf(0.975) * np.sqrt(end * (1 - end) / 10))
    sure = class_balance(index_of(label=[1, 1], split=["train", "train"]), "split").iloc[0]
    assert sure["ci_high"] == 1
    assert 0.2 < sure["ci_low"] < 0.5


def test_an_unknown_grouping_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="expected split, year, decade or genre, got by='colour'"):
        class_balance(index_of(label=[1]), "colour")


def test_association_agrees_with_scikit_learn_and_knows_the_direction() -> None:
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
    assert table.loc["lower", "correlation"] < 0
    assert table.index[0] == "lower"


def test_delong_intervals_cover_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth = norm.cdf(1 / np.sqrt(2))  # of two normals one standard deviation apart
    labels = np.repeat([0, 1], [60, 90])
    hits = 0
    for _ in range(200):
        values = pd.DataFrame({"x": labels + random.normal(size=150)})
        row = property_associations(values, labels, labels * 0).iloc[0]
        hits += row["ci_low"] <= truth <= row["ci_high"]
    assert hits / 200 == pytest.approx(0.95, abs=0.05)


def test_what_the_decade_explains_vanishes_within_decades() -> None:
    random = np.random.default_rng(2)
    decade = random.integers(0, 2, 2000)
    labels = (random.random(2000) < np.where(decade == 0, 0.9, 0.3)).astype(int)
    brightness = pd.DataFrame({"brightness": random.normal(size=2000) - 1.5 * decade})
    row = property_associations(brightness, labels, decade).iloc[0]
    assert row["auc"] > 0.65
    assert row["auc_within_strata"] == pytest.approx(0.5, abs=0.05)


def test_many_idle_properties_raise_no_alarm() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 300)
    idle = pd.DataFrame(random.normal(size=(300, 100)), columns=[f"p{n}" for n in range(100)])
    table = property_associations(idle, labels, labels * 0)
    assert (table["p_value"] < 0.05).sum() >= 2  # what an uncorrected look would have called
    assert (table["verdict"] == "none").all()


def test_constants_gaps_and_single_classes_are_not_asked() -> None:
    labels = np.array([0, 1] * 10)
    properties = pd.DataFrame({"constant": [3.0] * 20, "gaps": [np.nan, 1.0] * 10, "fine": np.arange(20.0)})
    table = property_associations(properties, labels, labels * 0).set_index("property")
    assert table.loc[["constant", "gaps"], "verdict"].tolist() == ["not asked", "not asked"]
    assert table.loc["gaps", "posters"] == 10
    assert table.loc["fine", "p_adjusted"] == table.loc["fine", "p_value"]  # one question asked


def test_a_planted_mark_in_the_corner_is_found(tmp_path: Path) -> None:
    dataset = synthetic(tmp_path / "posters", 160, shortcut=1.0)
    result = write_audit(dataset, tmp_path / "audit")
    verdicts = result.associations.set_index("property")["verdict"]
    assert verdicts["corner_top_right"] == "strong"
    assert verdicts["corner_bottom_left"] == "none"
    assert verdicts["source_width"] == "not asked"
    assert any("corner_top_right" in finding for finding in result.findings if finding.startswith("strong"))


def test_everything_is_written_and_readable(tmp_path: Path) -> None:
    dataset = synthetic(tmp_path / "posters", 80)
    result = write_audit(dataset, tmp_path / "audit", workers=1)
    names = {path.name for path in result.files}
    assert names == {path.name for path in (tmp_path / "audit").iterdir()}
    assert names == {
        "balance_split.csv", "balance_year.csv", "balance_decade.csv", "balance_genre.csv", "properties.csv",
        "property_associations.csv", "balance_decade.png", "balance_genre.png", "property_associations.png",
        "audit.json",
    }  # fmt: skip
    features = pd.read_csv(tmp_path / "audit" / "properties.csv")
    assert features["movie_id"].tolist() == dataset.index["movie_id"].tolist()
    assert {"region_count", "foreground_share", "source_aspect"} <= set(features.columns)
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert record["posters"] == 80
    assert record["fresh_share"] == dataset.index["label"].mean()
    assert record["findings"][0].startswith("80 posters, ")
    for path in result.files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 200


def test_one_class_and_no_years_still_give_an_audit(tmp_path: Path) -> None:
    dataset = synthetic(tmp_path / "posters", 20)
    dataset.index["label"], dataset.index["genres"] = 1, None
    dataset.index["year"] = pd.array([None] * 20, "Int64")
    result = write_audit(dataset, tmp_path / "audit")
    assert (result.associations["verdict"] == "not asked").all()
    assert result.balance["decade"]["value"].tolist() == ["unknown"]
    assert result.findings[0] == "20 posters, 100.0% Fresh: always saying Fresh is right 100.0%"
