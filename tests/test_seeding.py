"""Seeds: repeatable, and different for different purposes."""

import numpy as np

from poster_ml import seeding


def test_a_seed_is_the_same_on_every_machine_and_zero_is_one_like_any_other():
    assert seeding.derive_seed(42, "shuffle", 3) == 318199005
    assert seeding.derive_seed(0, "a") != seeding.derive_seed(1, "a")


def test_purposes_and_epochs_get_streams_of_their_own_that_repeat():
    paths = [("shuffle", 1), ("shuffle", 2), ("draws", 1), ("shuffle", 12), ("shuffle1", 2)]
    assert len({seeding.derive_seed(42, *path) for path in paths}) == len(paths)
    first, second = (seeding.generator(7, "x").random(5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
