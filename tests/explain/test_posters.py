from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poster_ml.errors import PosterMLError, UnknownLayerError
from poster_ml.explain.posters import choose_posters, explain_files, write_explanation


def decode(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_files_are_explained_in_sheets_of_eight(nets, tmp_path: Path) -> None:
    paths = []
    for number, image in enumerate(nets.noise(9)):
        folder = tmp_path / ("a" if number < 8 else "b")
        folder.mkdir(exist_ok=True)
        path = folder / f"poster{number % 8}.png"
        Image.fromarray(image).save(path)
        paths.append(path)
    written = explain_files(nets.red_against_green(), paths, tmp_path / "out", decode=decode)
    names = [str(path.relative_to(tmp_path / "out")) for path in written]
    assert names[:3] == ["maps_1.png", "maps_2.png", "poster0/activations_colour_conv.png"]
    assert names[-1] == "poster0_2/activations_colour_conv.png"
    assert len(names) == 2 + 9
    assert all(path.is_file() for path in written)


def test_names_that_are_no_text_or_lead_out_of_the_folder_are_explained_in_it(nets, tmp_path: Path) -> None:
    from poster_ml.commands.explain import ExplainResult

    paths = [tmp_path / os.fsdecode(b"caf\xe9.png"), tmp_path / "...png"]
    for path in paths:
        Image.fromarray(nets.noise(1)[0]).save(path, "PNG")
    files = explain_files(nets.red_against_green(), paths, tmp_path / "out", decode=decode)
    assert all(file.is_file() and (tmp_path / "out") in file.resolve().parents for file in files)
    text = ExplainResult(files).text()
    assert "caf\\udce9/activations_colour_conv.png" in text
    assert "out/poster/activations_colour_conv.png" in text


def test_refusals_write_nothing(nets, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PosterMLError, match="no poster to explain; name at least one image file"):
        explain_files(nets.red_against_green(), [], out, decode=decode)
    with pytest.raises(UnknownLayerError, match="no layer 'mixed8'"):
        explain_files(nets.red_against_green(), [tmp_path / "x.png"], out, layer_name="mixed8", decode=decode)
    assert not out.exists()


def test_surest_and_worst_are_chosen_in_order() -> None:
    labels = np.array([1, 0, 1, 0, 1])
    probabilities = np.array([0.9, 0.8, 0.1, 0.2, 0.5])
    chosen = {name: rows.tolist() for name, (_, rows) in choose_posters(labels, probabilities, 0.5).items()}
    assert chosen == {
        "cam_fresh_top8": [0, 1, 4, 3, 2],
        "cam_rotten_top8": [2, 3, 4, 1, 0],
        "cam_false_fresh_worst8": [1],
        "cam_false_rotten_worst8": [2],
    }
    many = choose_posters(np.zeros(20, int), np.linspace(0.5, 1, 20), 0.5)
    assert many["cam_false_fresh_worst8"][1].tolist() == list(range(19, 11, -1))
    assert many["cam_false_rotten_worst8"][1].tolist() == []


def test_errors_are_those_of_the_models_own_threshold() -> None:
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.7, 0.4, 0.6, 0.7])

    def errors(threshold: float) -> tuple[list[int], list[int]]:
        chosen = choose_posters(labels, probabilities, threshold)
        return tuple(chosen[f"cam_false_{kind}_worst8"][1].tolist() for kind in ("fresh", "rotten"))

    assert errors(0.3) == ([3, 1], [])
    assert errors(0.5) == ([3], [])
    assert errors(0.65) == ([3], [2])
    assert errors(0.7) == ([3], [2]), "a probability at the threshold is called Fresh"


def test_sheets_of_a_split_have_the_names_of_the_interface(nets, tmp_path: Path) -> None:
    images = nets.noise(3)
    written = write_explanation(
        nets.red_against_green(),
        images,
        np.array([1, 0, 1]),
        np.array([0.9, 0.4, 0.6]),
        ["a", None, "c"],
        tmp_path,
    )
    assert [path.name for path in written] == [
        "cam_fresh_top8.png",
        "cam_rotten_top8.png",
        "cam_false_fresh_worst8.png",
        "cam_false_rotten_worst8.png",
        "activations_colour_conv.png",
    ]
    with pytest.raises(ValueError, match=r"len\(titles\)=0"):
        write_explanation(nets.red_against_green(), images, np.ones(3), np.ones(3), [], tmp_path)
