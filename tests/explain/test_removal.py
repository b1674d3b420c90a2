import numpy as np

from poster_ml.explain.removal import impute, rank_places, top_mask


def test_highest_places_go_first_and_ties_are_shuffled():
    saliency = np.zeros((6, 4))
    saliency[5, 3], saliency[0, 1] = 2, 1
    ranks = rank_places(saliency, seed=0)
    assert ranks[5, 3] == 0
    assert ranks[0, 1] == 1
    assert sorted(ranks.ravel()) == list(range(24))
    flat = rank_places(np.zeros((20, 20)), seed=0)
    assert 0.3 < top_mask(flat, 0.5)[:10].mean() < 0.7  # not simply the upper half
    assert [top_mask(ranks, share).sum() for share in (0, 0.25, 1)] == [0, 6, 24]


def test_imputation_continues_the_surroundings_and_forgets_what_was_there():
    ramp = np.zeros((90, 60, 3), np.uint8) + np.linspace(0, 200, 90).astype(np.uint8)[:, None, None]
    mask = np.zeros((90, 60), bool)
    mask[30:60, 20:40] = True
    spoiled = ramp.copy()
    spoiled[mask] = (255, 0, 255)
    filled = impute(spoiled, mask, seed=0)
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[~mask], ramp[~mask])
    error = filled[mask].astype(float) - ramp[mask]
    assert np.abs(error.mean(axis=0)).max() < 3
    assert np.abs(error).max() < 25
    np.testing.assert_array_equal(impute(spoiled, mask, seed=0), filled)
    assert (impute(spoiled, mask, seed=1) != filled).any()


def test_imputation_of_nothing_and_of_everything():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(impute(image, np.zeros((30, 20), bool), seed=0), image)
    gone = impute(image, np.ones((30, 20), bool), seed=0)
    assert gone.std(axis=(0, 1)).max() < 4
    np.testing.assert_allclose(gone.mean(axis=(0, 1)), image.mean(), atol=6)
