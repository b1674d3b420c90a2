"""Synthetic posters: the cause is in the picture, the noise is known, and nothing else tells the label."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from poster_ml.synthetic.writing import Confounders, best_possible, write_posters
from tests.synthetic.scores import score_regions

TABLE_COLUMNS = [
    "movie_id", "title", "year", "genres", "tomatometer_rating", "tomatometer_status", "imdb_score",
    "rating_source",
]  # fmt: skip
REGION_COLUMNS = ["movie_id", "kind", "left", "top", "right", "bottom"]


@pytest.fixture(scope="module")
def posters(tmp_path_factory):
    return write_posters(tmp_path_factory.mktemp("synthetic") / "out", count=900)


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "movies.csv").set_index("movie_id")


def fresh(folder: Path) -> pd.Series:
    return (table(folder)["tomatometer_status"] == "Fresh").astype(int)


def hashes(folder: Path) -> dict[str, int]:
    return {path.name: hash(path.read_bytes()) for path in sorted((folder / "posters").iterdir())}


def color_histograms(folder: Path) -> np.ndarray:
    counts = []
    for path in sorted((folder / "posters").iterdir()):
        bins = np.asarray(Image.open(path)).reshape(-1, 3) // 64
        counts.append(np.bincount(bins @ np.array([16, 4, 1]), minlength=64))
    return np.stack(counts) / sum(counts[0])


def cross_validated_auc(features: np.ndarray, labels: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    chances = cross_val_predict(model, features, labels, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, chances))


def test_files_and_columns_are_those_of_a_real_table(posters):
    movies = pd.read_csv(posters.folder / "movies.csv")
    assert list(movies.columns) == TABLE_COLUMNS
    assert len(movies) == 900
    assert movies["movie_id"].iloc[[0, -1]].tolist() == ["synth00001", "synth00900"]
    assert sorted(hashes(posters.folder)) == [f"{identity}.jpg" for identity in movies["movie_id"]]
    with Image.open(posters.folder / "posters" / "synth00001.jpg") as image:
        assert (image.size, image.mode, image.format) == ((182, 268), "RGB", "JPEG")
    is_fresh = movies["tomatometer_status"] == "Fresh"
    assert (is_fresh == (movies["tomatometer_rating"] >= 60)).all()
    assert movies["tomatometer_rating"].between(0, 100).all()
    assert movies["year"].between(1950, 2020).all()


@pytest.mark.parametrize(("width", "height"), [(182, 268), (64, 64), (300, 64), (64, 300)])
def test_boxes_lie_inside_posters_of_any_shape_apart_from_the_title(tmp_path, width, height):
    summary = write_posters(tmp_path / "out", count=60, width=width, height=height)
    regions = pd.read_csv(summary.folder / "regions.csv")
    assert list(regions.columns) == REGION_COLUMNS
    assert set(regions["kind"]) == {"title", "figure", "credits"}
    assert (regions[["left", "top"]] >= 0).all(axis=None)
    assert (regions[["right", "bottom"]] <= [width, height]).all(axis=None)
    title = regions[regions["kind"] == "title"].set_index("movie_id")
    figures = regions[regions["kind"] == "figure"].join(title, on="movie_id", rsuffix="_title")
    apart = (figures["top"] >= figures["bottom_title"]) | (figures["bottom"] <= figures["top_title"])
    assert apart.all()
    scores = score_regions(regions, width, height)
    assert ((scores > 0).astype(int) == fresh(summary.folder)).mean() == summary.achieved_accuracy


def test_boxes_mark_what_is_drawn(posters):
    """Inside a title's or figure's box there are more edges than in the poster as a whole."""
    regions = pd.read_csv(posters.folder / "regions.csv")
    for identity in ("synth00001", "synth00002", "synth00003"):
        gray = np.asarray(Image.open(posters.folder / "posters" / f"{identity}.jpg").convert("L"), float)
        edges = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
        drawn = np.zeros(gray.shape, bool)
        for row in regions[regions["movie_id"] == identity].itertuples():
            drawn[row.top : row.bottom, row.left : row.right] = True
        assert edges[drawn].mean() > 4 * edges[~drawn].mean()


def test_the_rule_is_right_exactly_as_often_as_promised(posters):
    scores = score_regions(pd.read_csv(posters.folder / "regions.csv"), 182, 268)
    assert scores.abs().min() > 0.2  # the gap, less what whole pixels take
    right = (scores > 0).astype(int) == fresh(posters.folder)[scores.index]
    assert right.mean() == posters.achieved_accuracy
    assert abs(right.mean() - 0.9) < 3 * np.sqrt(0.9 * 0.1 / 900)
    assert 0.54 < posters.fresh_share < 0.62
    assert abs(roc_auc_score(right, scores.abs()) - 0.5) < 0.1, "mistakes depend on the poster"


def test_colours_alone_do_not_tell_the_label(posters):
    area = cross_validated_auc(color_histograms(posters.folder), fresh(posters.folder).to_numpy())
    assert abs(area - 0.5) < 0.06


def test_a_planted_palette_can_be_read_from_colours(tmp_path):
    summary = write_posters(tmp_path / "out", count=200, confounders=Confounders(palette=0.9))
    area = cross_validated_auc(color_histograms(summary.folder), fresh(summary.folder).to_numpy())
    assert area > 0.8
    assert summary.best_accuracy > 0.9


def test_a_planted_mark_follows_the_label_and_is_listed(tmp_path):
    summary = write_posters(tmp_path / "out", count=60, confounders=Confounders(shortcut=1.0))
    regions = pd.read_csv(summary.folder / "regions.csv")
    marked = regions[regions["kind"] == "mark"]
    labels = fresh(summary.folder)
    assert set(marked["movie_id"]) == set(labels.index[labels == 1])
    assert summary.best_accuracy == 1.0
    box = marked.iloc[0]
    with Image.open(summary.folder / "posters" / f"{box['movie_id']}.jpg") as image:
        assert min(image.getpixel((int(box["left"]) + 1, int(box["top"]) + 1))) > 225


def test_year_and_genre_follow_the_label_as_strongly_as_asked(tmp_path):
    areas = {}
    for strength in (0.0, 1.0):
        planted = Confounders(genre=strength, year=strength)
        folder = write_posters(
            tmp_path / str(strength), count=300, width=64, height=64, confounders=planted
        ).folder
        genres = table(folder)["genres"].str.get_dummies().to_numpy()
        areas[strength] = (
            roc_auc_score(fresh(folder), -table(folder)["year"]),
            cross_validated_auc(genres, fresh(folder).to_numpy()),
        )
    assert max(abs(area - 0.5) for area in areas[0.0]) < 0.1
    assert areas[1.0][0] == 1.0
    assert areas[1.0][1] > 0.99


def test_same_seed_same_bytes_whatever_the_count_and_another_seed_others(posters, tmp_path):
    few, again, other = (
        write_posters(tmp_path / name, count=20, seed=seed)
        for name, seed in (("few", 42), ("again", 42), ("other", 0))
    )
    assert hashes(few.folder).items() <= hashes(posters.folder).items()
    assert (table(few.folder) == table(posters.folder).iloc[:20]).all(axis=None)
    for name in ("movies.csv", "regions.csv", "synthetic.json"):
        assert (few.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert hashes(few.folder) == hashes(again.folder)
    assert not set(hashes(few.folder).values()) & set(hashes(other.folder).values())


def test_another_noise_changes_labels_but_no_picture(tmp_path):
    clean = write_posters(tmp_path / "clean", count=60, bayes_accuracy=1.0)
    noisy = write_posters(tmp_path / "noisy", count=60, bayes_accuracy=0.6)
    assert clean.achieved_accuracy == 1.0
    assert noisy.achieved_accuracy < 0.8
    assert not (fresh(clean.folder) == fresh(noisy.folder)).all()
    assert hashes(clean.folder) == hashes(noisy.folder)


def test_best_possible_is_the_rule_alone_when_nothing_else_is_planted():
    accuracy, area = best_possible(0.9, Confounders())
    assert accuracy == pytest.approx(0.9)
    # Sensitivity .54/.58 and specificity .36/.42 by Bayes' rule; one threshold, so the area is their mean.
    assert area == pytest.approx((0.54 / 0.58 + 0.36 / 0.42) / 2)
    assert best_possible(0.5, Confounders()) == pytest.approx((0.5, 0.5))


def test_best_possible_agrees_with_a_simulation():
    random = np.random.default_rng(0)
    clean = random.random(200_000) < 0.6
    label = clean ^ (random.random(200_000) >= 0.8)
    palette = label ^ (random.random(200_000) >= 0.75)  # strength .5
    # With two signs at odds the surer one wins: the rule.
    accuracy, area = best_possible(0.8, Confounders(palette=0.5))
    code = 2 * clean + palette
    chance = np.array([label[code == value].mean() for value in range(4)])[code]
    assert accuracy == pytest.approx(((chance > 0.5) == label).mean(), abs=0.005)
    assert area == pytest.approx(roc_auc_score(label, chance), abs=0.005)
