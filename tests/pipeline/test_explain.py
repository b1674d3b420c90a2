"""Which posters the sheets show; that they are written is tested where a run is trained and evaluated."""

import numpy as np

from poster_ml.pipeline.explain import choose_posters


def test_surest_and_worst_are_chosen_in_order():
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


def test_errors_are_those_of_the_models_own_threshold():
    labels, probabilities = np.array([1, 0, 1, 0]), np.array([0.7, 0.4, 0.6, 0.7])

    def errors(threshold: float) -> tuple[list[int], list[int]]:
        chosen = choose_posters(labels, probabilities, threshold)
        return tuple(chosen[f"cam_false_{kind}_worst8"][1].tolist() for kind in ("fresh", "rotten"))

    assert errors(0.3) == ([3, 1], [])
    assert errors(0.5) == ([3], [])
    assert errors(0.65) == ([3], [2])
    assert errors(0.7) == ([3], [2]), "a probability at the threshold is called Fresh"
