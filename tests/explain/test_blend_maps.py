"""The map of a blend is the weighted sum of its members' maps, in units of the logit."""

from __future__ import annotations

import numpy as np
import pytest

from poster_ml.augment.views import FixedViews
from poster_ml.errors import ExplanationError
from poster_ml.explain.activations import default_activation_layers, write_activation_grids
from poster_ml.explain.maps import Explainer
from poster_ml.explain.view_maps import inverse_map, mean_over_views
from poster_ml.models.blend import build_blend
from poster_ml.models.views import build_view_average


def test_two_heads_that_say_the_same_agree_whatever_their_method(nets) -> None:
    """CAM of one, Grad-CAM of the other: the same network in two forms, so the sum is the single map."""
    members = [nets.red_against_green("gap"), nets.red_against_green("mlp")]
    assert [Explainer(member).method for member in members] == ["cam", "gradcam"]
    images = nets.coloured()
    alone = Explainer(members[0]).explain(images)
    np.testing.assert_allclose(Explainer(build_blend(members, [0.5, 0.5])).explain(images), alone, atol=1e-5)


def test_members_count_by_their_factors(nets) -> None:
    """Against itself a network cancels out exactly only if both maps are in the same unit."""
    members = [nets.red_against_green("gap"), nets.red_against_green("mlp")]
    images = nets.coloured()
    alone = Explainer(members[0]).explain(images)
    against = Explainer(build_blend(members, [0.25, -0.75])).explain(images)
    np.testing.assert_allclose(against, -alone, atol=1e-5)
    cancelled = Explainer(build_blend(members, [0.5, -0.5]))._contributions(images, 2)
    np.testing.assert_allclose(cancelled, 0.0, atol=1e-5)


def test_it_says_what_the_map_is_and_has_no_layer_of_its_own(nets, tmp_path) -> None:
    blend = build_blend([nets.red_against_green(), nets.red_against_green("flatten")], [0.5, 0.5])
    assert Explainer(blend).how == "sum of the maps of 2 networks"
    assert Explainer(nets.red_against_green()).how == "cam at colour_conv"
    with pytest.raises(ExplanationError, match="a blend of networks has no layer 'colour_conv' of its own"):
        Explainer(blend, layer_name="colour_conv")
    assert default_activation_layers(blend) == []
    assert write_activation_grids(blend, nets.coloured()[0], tmp_path) == []


def test_the_maps_of_views_are_laid_back_onto_the_poster(nets) -> None:
    """Views that mirror, move and shrink the poster: the map must stand where the unmoved map does."""
    network, images = nets.red_against_green("gap"), nets.coloured()
    height, width = images.shape[1:3]
    alone = Explainer(network)._contributions(images, 4)
    plain = [1, 0, 0, 0, 1, 0]
    moved = [1, 0, width // 4, 0, 1, 0]
    mirrored = [-1, 0, width - 1, 0, 1, 0]
    half_size = [2, 0, -width / 2 + 0.5, 0, 2, -height / 2 + 0.5]
    same = Explainer(build_view_average(network, FixedViews([plain, mirrored])))
    np.testing.assert_allclose(same._contributions(images, 4), alone, atol=1e-3 * np.abs(alone).max())
    assert same.how == "mean over 2 views of cam at colour_conv"
    quarter = width // 4
    shifted = Explainer(build_view_average(network, FixedViews([moved])))._contributions(images, 4)
    np.testing.assert_allclose(
        shifted[:, :, quarter:], alone[:, :, quarter:], atol=1e-3 * np.abs(alone).max()
    )
    np.testing.assert_array_equal(shifted[:, :, :quarter], 0)  # not in the view
    halved = Explainer(build_view_average(network, FixedViews([half_size])))._contributions(images, 4)
    for there, here in zip(halved, alone, strict=True):
        assert np.corrcoef(there.ravel(), here.ravel())[0, 1] > 0.9


def test_a_view_that_shows_the_picture_smaller_speaks_for_as_much_of_it() -> None:
    """What a map says in sum is kept, whatever the scale: four small pixels for one large."""
    doubled = [0.5, 0, 0, 0, 0.5, 0]  # the view enlarges
    inverse, area = inverse_map(np.array(doubled))
    np.testing.assert_allclose(inverse, [2, 0, 0, 0, 2, 0])
    assert area == 4
    turned, area = inverse_map(np.array([0, -1, 5, 1, 0, 2]))
    np.testing.assert_allclose(turned, [0, 1, -2, -1, 0, 5])
    assert area == 1
    with pytest.raises(ValueError, match="flattens the picture and has no inverse"):
        inverse_map(np.array([1, 1, 0, 1, 1, 0]))


def test_what_a_view_says_in_sum_is_laid_back_whole() -> None:
    """Enlarged, moved, shrunk: a map of ones on the view has the same sum on the poster, where all of it fits."""
    posters = np.zeros((2, 16, 16, 3), "uint8")
    enlarged, corner = [0.5, 0, 4, 0, 0.5, 4], [0.5, 0, 0, 0, 0.5, 0]
    for one in (enlarged, corner):
        maps = mean_over_views(FixedViews([one]), posters, lambda seen: np.ones(seen.shape[:3], np.float32))
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 256, rtol=0.15)  # the border's half pixels
        assert maps.max() == pytest.approx(4)
        assert (maps == 0).mean() > 0.7


def test_a_blend_of_one_network_over_views_says_so(nets) -> None:
    averaged = build_view_average(nets.red_against_green(), FixedViews([[1, 0, 0, 0, 1, 0]]))
    assert Explainer(build_blend([averaged], [0.5])).how == "mean over 1 views of cam at colour_conv"
    with pytest.raises(ExplanationError, match="has no layer 'colour_conv' of its own"):
        Explainer(averaged, layer_name="colour_conv")
