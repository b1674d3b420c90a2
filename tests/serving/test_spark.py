"""The block of docs/machines.md that scores with Spark, run as it stands."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


def test_the_documented_block_scores_what_predict_scores(
    logged, make_picture, project, tmp_path, monkeypatch
):
    pytest.importorskip("pyspark", reason="pyspark is missing: pip install 'poster-ml[spark]', and Java 17")
    from poster_ml.commands.predict import run_predict

    uri, posters = f"models:/{logged.model_id}", tmp_path / "raw" / "posters"
    posters.mkdir(parents=True)
    for number in range(70):
        (posters / f"{number:03d}.jpg").write_bytes(make_picture(number) if number else b"broken")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (project / "docs" / "machines.md").read_text(), re.DOTALL)
    space: dict[str, Any] = {}
    try:
        exec(block.replace("models:/poster-cnn@champion", uri), space)
    finally:
        if "spark" in space:
            space["spark"].stop()
    rows = pd.read_parquet("scores.parquet").sort_values("path", ignore_index=True)
    run_predict(uri, [posters], out=Path("here.csv"))
    columns = ["probability_fresh", "label", "threshold", "error"]
    pd.testing.assert_frame_equal(rows[columns], pd.read_csv("here.csv")[columns], check_dtype=False)
