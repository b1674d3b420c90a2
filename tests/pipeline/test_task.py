"""What the demo makes of an experiment where ImageNet's weights cannot be had."""

import pytest

from poster_ml.config import ExperimentConfig, experiment_path, load_experiment
from poster_ml.models.freezing import trainable_summary
from poster_ml.pipeline import task as profile
from poster_ml.pipeline.fit import build_network


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(profile, "imagenet_available", lambda family: False)


def demo(variant: str, *explicit: str) -> ExperimentConfig:
    return profile.demo_config(load_experiment(experiment_path(variant)), set(explicit))


@pytest.mark.parametrize("variant", ["vgg16", "vgg16_features_augmented", "mobilenet_v2"])
def test_without_weights_only_a_linear_head_on_all_blocks_is_trained(variant):
    config = demo(variant)
    network = build_network(config, profile.DEMO_SIZE, weights=config.model.weights)
    blocks = profile.FAMILIES[config.model.family].blocks
    channels = sum(network.get_layer(layer).output.shape[-1] for _, layer in blocks)
    # One weight per averaged channel of every block, and the bias.
    assert trainable_summary(network)["trainable_parameters"] == channels + 1


def test_what_the_user_set_wins_over_the_demo():
    config = demo("vgg16", "model.unfreeze", "train.epochs")
    own = load_experiment(experiment_path("vgg16"))
    assert (config.model.unfreeze, config.train.epochs) == (own.model.unfreeze, own.train.epochs)
    assert config.model.weights == "none"


def test_a_network_that_needs_no_weights_keeps_its_architecture():
    assert demo("basic_cnn").model == load_experiment(experiment_path("basic_cnn")).model
