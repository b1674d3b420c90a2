import numpy as np
import pandas
import pytest

from poster_ml.evaluation.metadata import genre_columns, members
from poster_ml.evaluation.slices import compute_slices, worst_slices


def posters(count: int = 400) -> tuple[pandas.DataFrame, np.ndarray]:
    """The model is good everywhere but on Horror, where it is reversed."""
    random = np.random.default_rng(0)
    genres = np.array(["Drama", "Horror", "Drama|Comedy", ""])[np.arange(count) % 4]
    labels = random.integers(0, 2, count)
    sign = np.where(genres == "Horror", -1.0, 2.0)
    probabilities = 1 / (1 + np.exp(-(sign * (labels - 0.5) + 0.5 * random.normal(size=count))))
    table = pandas.DataFrame(
        {
            "year": pandas.array(1980 + np.arange(count) % 25, dtype="Int64"),
            "genres": genres,
            "label": labels,
            "width": 182,
            "height": np.where(np.arange(count) % 2, 268, 320),
            "brightness": np.arange(count) / count,
        }
    )
    return table, probabilities


def slices(table: pandas.DataFrame, probabilities: np.ndarray) -> pandas.DataFrame:
    return compute_slices(table, probabilities, threshold=0.5, confidence=0.95)


def test_every_poster_is_in_each_of_its_groups_in_their_order():
    counts = slices(*posters()).set_index(["slice", "value"])["posters"]
    assert counts["genre"].to_dict() == {"Comedy": 100, "Drama": 200, "Horror": 100, "unknown": 100}
    assert counts["aspect"].to_dict() == {"one-sheet (.64 to .71)": 200, "narrow (below .64)": 200}
    assert counts["decade"].to_dict() == {"1980s": 160, "1990s": 160, "2000s": 80}
    names = ["darkest quarter", "dark quarter", "bright quarter", "brightest quarter"]
    assert list(counts["brightness"].items()) == [(name, 100) for name in names]


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_genres_are_a_column_each_and_a_missing_entry_is_none_of_them(missing):
    table = pandas.DataFrame({"genres": ["Drama| War", missing, "Drama|Drama|"]})
    assert genre_columns(table).to_dict("list") == {"Drama": [1, 0, 1], "War": [1, 0, 0]}
    assert list(members(table, "genre").itertuples(index=False, name=None)) == [
        (0, "Drama"), (0, "War"), (1, "unknown"), (2, "Drama"),
    ]  # fmt: skip


def test_the_planted_bad_slice_is_named_first():
    found = slices(*posters())
    worst = worst_slices(found, overall_auc=0.75).iloc[0]
    assert (worst["value"], worst["worse"]) == ("Horror", True)
    assert worst["p_holm"] < 0.001
    assert worst["roc_auc_ci_high"] < 0.5
    assert worst["accuracy_ci_high"] < worst["majority_accuracy"]


def test_a_tiny_slice_or_a_handful_of_one_class_is_not_asked():
    table, probabilities = posters()
    labels = table["label"].to_numpy()
    for fresh, rotten in ((6, 4), (40, 9)):
        few = np.r_[np.flatnonzero(labels == 0)[:rotten], np.flatnonzero(labels == 1)[:fresh]]
        genres = np.where(np.isin(np.arange(len(table)), few), "Western", "Drama")
        said = np.where(genres == "Western", 1.0 - labels, probabilities)
        found = slices(table[["label"]].assign(genres=genres), said)
        assert set(found["value"]) == {"Western", "Drama"}
        assert found["p_holm"].isna().all(), "nor the others, with nothing to stand beside"
        assert worst_slices(found, overall_auc=1.0).empty


def test_slices_of_chance_are_not_called_the_worst():
    """Forty genres of one and the same model: some lie below the rest, none of them by more than chance."""
    named = looked_bad = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, 2000)
        table = pandas.DataFrame({"label": labels, "genres": [f"g{n}" for n in random.integers(0, 40, 2000)]})
        found = slices(table, 1 / (1 + np.exp(-(0.8 * labels + random.normal(size=2000)))))
        assert len(found) == 40
        looked_bad += (found["roc_auc_ci_high"] < 0.714).sum()
        named += len(worst_slices(found, overall_auc=0.714))
    assert looked_bad > 5
    assert named <= 2


def test_missing_columns_and_values_are_left_out_or_unknown():
    table, probabilities = posters(40)
    assert slices(table[["label"]], probabilities).empty
    table.loc[:9, "year"] = pandas.NA
    table["genres"] = None
    table["brightness"] = np.nan
    found = slices(table, probabilities)
    assert set(found["slice"]) == {"decade", "aspect"}
    assert found.set_index("value").loc["unknown", "posters"] == 10


def test_one_class_in_a_slice_has_an_accuracy_but_no_auc():
    table = pandas.DataFrame({"label": [1, 1, 0, 1], "year": [1950, 1955, 1990, 1991]})
    found = slices(table, np.array([0.9, 0.2, 0.4, 0.6]))
    assert found["accuracy"].tolist() == [0.5, 1.0]
    assert found["roc_auc"].isna().tolist() == [True, False]
