"""The map of an ensemble is the weighted sum of its members' maps, in units of the logit."""

import numpy as np
import pytest

from poster_ml.errors import ExplanationError
from poster_ml.explain.activations import default_activation_layers, write_activation_grids
from poster_ml.explain.maps import Explainer
from poster_ml.models.ensemble import build_ensemble


def test_members_count_by_their_factors_whatever_their_method(nets):
    """CAM of one, Grad-CAM of the other: the same network in two forms, so the sum is the single map.

    Against itself a network cancels out exactly only if both maps are in the same unit.
    """
    members = [nets.red_against_green("gap"), nets.red_against_green("mlp")]
    assert [Explainer(member).method for member in members] == ["cam", "gradcam"]
    images = nets.coloured()
    alone = Explainer(members[0]).explain(images)
    for weights, sign in (([0.5, 0.5], 1), ([0.25, -0.75], -1)):
        both = Explainer(build_ensemble(members, weights)).explain(images)
        np.testing.assert_allclose(both, sign * alone, atol=1e-5)
    cancelled = Explainer(build_ensemble(members, [0.5, -0.5])).contributions(images)
    np.testing.assert_allclose(cancelled, 0.0, atol=1e-5)


def test_it_says_what_the_map_is_and_has_no_layer_of_its_own(nets, tmp_path):
    ensemble = build_ensemble([nets.red_against_green(), nets.red_against_green("flatten")], [0.5, 0.5])
    assert Explainer(ensemble).how == "sum of the maps of 2 networks"
    assert Explainer(nets.red_against_green()).how == "cam at colour_conv"
    with pytest.raises(ExplanationError, match="an ensemble of networks has no layer 'colour_conv' of its"):
        Explainer(ensemble, layer_name="colour_conv")
    assert default_activation_layers(ensemble) == []
    assert write_activation_grids(ensemble, nets.coloured()[0], tmp_path) == []
