"""The prepared dataset: a folder of torture, files as promised, a kill in the middle."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poster_ml.data.images import decode_poster
from poster_ml.data.prepared import PreparedDataset, prepare
from poster_ml.errors import DatasetError
from tests.pictures import encode, poster
from tests.programs import wait_for
from tests.refusals import refusal

NOTHING = pd.DataFrame(columns=["row", "movie_id", "reason"])


def table_of(files: dict[str, Path]) -> pd.DataFrame:
    """One movie per file, Fresh and Rotten in turn."""
    names = list(files)
    return pd.DataFrame({
        "movie_id": names, "title": [f"Film, {name}" for name in names], "year": [1990 + n % 30 for n in range(len(names))],
        "genres": "Drama|War", "label": [n % 2 for n in range(len(names))], "tomatometer_rating": 61.0,
        "image": [str(path) for path in files.values()],
    })  # fmt: skip


def posters(folder: Path, count: int) -> dict[str, Path]:
    folder.mkdir()
    files = {f"tt{number:05d}": folder / f"tt{number:05d}.png" for number in range(count)}
    for number, path in enumerate(files.values()):
        path.write_bytes(encode(poster(number)))
    return files


def make(table: pd.DataFrame, out: Path, rejected: pd.DataFrame = NOTHING, **options) -> PreparedDataset:
    settings = {"size": 32, "fit": "squash", "split": "grouped", "seed": 0, "workers": 1} | options
    return prepare(table, rejected, out, **settings)


def test_a_dataset_holds_what_the_interface_promises(tmp_path):
    table = table_of(posters(tmp_path / "posters", 40))
    table.loc[3, ["movie_id", "title", "genres"]] = ["0007", "None", ""]
    table["year"] = table["year"].astype("Int64")
    table.loc[4, "year"], table.loc[5, "tomatometer_rating"] = pd.NA, None
    dataset = make(table, tmp_path / "deep" / "prepared", source={"table": "movies.csv"})
    assert dataset.images.shape == (40, 32, 32, 3)
    assert dataset.images.dtype == np.uint8
    assert not dataset.images.flags.writeable
    assert dataset.index.columns.tolist()[:11] == [
        "movie_id", "title", "year", "genres", "label", "tomatometer_rating", "split", "duplicate_group", "sha256",
        "width", "height",
    ]  # fmt: skip
    for row, image in enumerate(table["image"]):
        assert np.array_equal(dataset.images[row], decode_poster(Path(image), 32).pixels)
    same = ["movie_id", "title", "year", "genres", "label", "tomatometer_rating"]
    pd.testing.assert_frame_equal(dataset.index[same], table[same], check_dtype=False)
    assert (dataset.index[["width", "height"]] == [60, 90]).all(axis=None)
    found = dataset.manifest
    assert found["counts"] == {"rows": 40, "accepted": 40, "rejected": 0}
    assert (found["source"], found["options"]["fractions"]) == ({"table": "movies.csv"}, [0.64, 0.16, 0.2])
    assert [found["class_balance"][name]["posters"] for name in ("train", "val")] == [26, 6]
    test = {"posters": 8, "fresh": 4, "rotten": 4, "fresh_share": 0.5}
    assert found["class_balance"]["test"] == test
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "duplicates.csv", "images.npy", "index.csv", "manifest.json", "rejected.csv",
    ]  # fmt: skip
    assert [path.name for path in dataset.folder.parent.iterdir()] == ["prepared"], "nothing temporary stays"


def torture() -> dict[str, tuple[bytes | None, str]]:
    """File name to content (None: no file) and the kind of reason it is refused for ("": accepted)."""
    sideways = Image.Exif()
    sideways[0x0112] = 6
    return {
        "png_named.jpg": (encode(poster(1)), ""),
        "cmyk.jpg": (encode(poster(3).convert("CMYK"), "JPEG"), ""),
        "exif_rotated.jpg": (encode(poster(7), "JPEG", exif=sideways), ""),
        "large.jpg": (encode(poster(9, 1000, 1500), "JPEG"), ""),
        **{f"plain{number}.png": (encode(poster(20 + number)), "") for number in range(4)},
        "truncated.jpg": (encode(poster(11), "JPEG")[:-300], "broken image"),
        "zero_bytes.jpg": (b"", "empty file"),
        "placeholder.gif": (encode(Image.new("RGB", (200, 300), (30, 60, 90)), "GIF"), "one colour"),
        "absent.jpg": (None, "missing file"),
    }


def test_the_torture_folder_gives_exactly_the_right_rows(tmp_path):
    cases = torture()
    for name, (content, _) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    dataset = make(table_of({name: tmp_path / name for name in cases}), tmp_path / "out")
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    expected = {name: why for name, (_, why) in cases.items() if why}
    assert {row.movie_id: row.reason.split(":")[0] for row in rejected.itertuples()} == expected
    assert dataset.index["movie_id"].tolist() == [name for name, (_, why) in cases.items() if not why]
    assert rejected["row"].tolist() == [row for row, name in enumerate(cases, 1) if name in expected]
    assert dataset.images.std(axis=(1, 2, 3)).min() > 10, "no silent black square"
    rotated = dataset.index.set_index("movie_id").loc["exif_rotated.jpg"]
    assert (rotated["width"], rotated["height"]) == (90, 60)
    dataset.verify()


def test_rows_rejected_before_and_now_stand_in_the_order_of_the_input(tmp_path):
    table = table_of(posters(tmp_path / "posters", 14))
    table["row"] = [*range(2, 14), 20, 21]
    table.loc[12, "image"] = ""
    Path(table.loc[13, "image"]).unlink()
    earlier = pd.DataFrame(
        {"row": [20, 1], "movie_id": ["tt00012", "x"], "reason": ["no image", "no label: 'n/a'"]}
    )
    dataset = make(table, tmp_path / "out", earlier)
    assert (dataset.folder / "rejected.csv").read_text().splitlines() == [
        "row,movie_id,reason", "1,x,no label: 'n/a'", "20,tt00012,no image",
        "21,tt00013,missing file: tt00013.png",
    ]  # fmt: skip
    assert dataset.manifest["counts"] == {"rows": 15, "accepted": 12, "rejected": 3}
    assert dataset.manifest["rejected_by_reason"] == {"no label": 1, "no image": 1, "missing file": 1}
    assert dataset.index["row"].tolist() == list(range(2, 14))


def test_duplicates_share_a_group_and_a_side(tmp_path):
    files = posters(tmp_path / "posters", 30)
    copies = {f"copy{number}": tmp_path / f"copy{number}.jpg" for number in range(10)}
    for number, path in enumerate(copies.values()):
        path.write_bytes(encode(poster(number), "JPEG", quality=60))
    copies["same_file"] = files["tt00020"]
    dataset = make(table_of(files | copies), tmp_path / "out")
    index = dataset.index.set_index("movie_id")
    for number in range(10):
        pair = index.loc[[f"tt{number:05d}", f"copy{number}"]]
        assert pair[["duplicate_group", "split"]].drop_duplicates().shape[0] == 1
    assert index.loc["same_file", "duplicate_group"] == index.loc["tt00020", "duplicate_group"]
    told = dataset.manifest["duplicates"]
    assert told["duplicate_groups"] == 11
    assert told["leaking_pairs"] == 0
    listed = pd.read_csv(dataset.folder / "duplicates.csv")
    assert len(listed) == 22
    assert set(listed.loc[listed["exact"], "movie_id"]) == {"same_file", "tt00020"}


def test_a_limit_draws_at_random_but_the_study_takes_the_first(tmp_path):
    table = table_of(posters(tmp_path / "posters", 40))
    drawn, other = (
        make(table, tmp_path / str(seed), limit=20, seed=seed).index["row"].tolist() for seed in (0, 1)
    )
    assert (len(drawn), sorted(drawn)) == (20, drawn)
    assert max(drawn) > 25
    assert other != drawn
    study = make(table, tmp_path / "study", limit=20, split="study")
    assert study.index["row"].tolist() == list(range(1, 21))
    assert study.manifest["rejected_by_reason"] == {"left out": 20}
    assert study.manifest["options"]["fractions"] is None


def test_the_fingerprint_tells_contents_apart_and_nothing_usable_leaves_the_old_dataset(tmp_path):
    table = table_of(posters(tmp_path / "posters", 20))
    old = make(table, tmp_path / "out").fingerprint
    for name, changed, options in (
        ("same", table, {}), ("other", table.assign(label=1 - table["label"]), {}),
        ("cropped", table, {"fit": "crop"}), ("drawn", table, {"seed": 1}),
    ):  # fmt: skip
        assert (make(changed, tmp_path / name, **options).fingerprint == old) == (name == "same")
    files = {f"m{number}": tmp_path / f"m{number}.jpg" for number in range(5)}
    files["m4"].write_bytes(b"no image")
    assert refusal(DatasetError, make, table_of(files), tmp_path / "out").startswith(
        "of 5 rows 0 have a poster that can be used, none, 4 x missing file, 1 x not an image; check --table, "
    )
    assert refusal(DatasetError, make, table.assign(label=1), tmp_path / "out").startswith(
        "of 20 rows 20 have a poster that can be used, all of them Fresh or all of them Rotten; check --table, "
    )
    dataset = PreparedDataset.open(tmp_path / "out")
    dataset.verify()
    assert dataset.fingerprint == old


SCRIPT = """
import sys
from pathlib import Path
import pandas as pd
from poster_ml.data.prepared import prepare
prepare(pd.read_csv(sys.argv[1]), pd.DataFrame(columns=["row", "movie_id", "reason"]), Path(sys.argv[2]),
        size=64, fit="squash", split="grouped", seed=0, workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_in_the_middle_leaves_the_old_dataset_and_the_next_run_completes(tmp_path, how):
    out = tmp_path / "out"
    table = table_of(posters(tmp_path / "posters", 20))
    old = make(table, out).fingerprint
    # 3,000 movies that share one poster of 2 megapixels: half a minute of work, of which we wait for a moment.
    (tmp_path / "large.jpg").write_bytes(encode(poster(99, 1200, 1800), "JPEG"))
    many = table_of({f"m{number}": tmp_path / "large.jpg" for number in range(3000)})
    many.to_csv(tmp_path / "many.csv", index=False)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path / "many.csv", out], stderr=subprocess.PIPE
    )
    wait_for(lambda: any(path.stat().st_size > 10**6 for path in tmp_path.glob(".out.*.tmp/images.npy")))
    assert process.poll() is None
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0

    dataset = PreparedDataset.open(out)
    dataset.verify()
    assert dataset.fingerprint == old
    if how == signal.SIGINT:
        assert not list(tmp_path.glob(".out.*")), "an interrupt cleans up after itself"
    second = make(table.assign(label=1 - table["label"]), out)
    second.verify()
    assert second.fingerprint != old
    assert not list(tmp_path.glob(".out.*")), "the next run cleans up after a kill"


@pytest.mark.real
def test_real_posters_become_a_dataset_without_a_loss(real_data, tmp_path):
    table = pd.read_csv(real_data / "movies.csv", dtype=str, keep_default_na=False).iloc[::20]
    table["label"] = (table["tomatometer_status"] == "Fresh").astype(int)
    table["image"] = [str(real_data / "posters" / f"{name}.jpg") for name in table["movie_id"]]
    table = table.astype({"year": int, "tomatometer_rating": float})
    dataset = make(table, tmp_path / "out", workers=2)
    assert len(dataset.index) == len(table) == 320
    assert dataset.manifest["duplicates"]["duplicate_groups"] == 0
