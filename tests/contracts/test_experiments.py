"""What every experiment file must satisfy."""

import pytest
import yaml

from poster_ml.config import REPOSITORY, from_mapping, load_experiment, to_yaml
from poster_ml.models.catalogue import FAMILIES
from poster_ml.pipeline.suite_tasks import VARIANTS

FOLDER = REPOSITORY / "experiments"
FILES = sorted([*FOLDER.glob("*.yaml"), *(FOLDER / "study").glob("*.yaml")])


def test_both_protocols_have_the_nine_variants():
    for folder in (FOLDER, FOLDER / "study"):
        assert set(VARIANTS) <= {file.stem for file in folder.glob("*.yaml")}
    assert len(FILES) >= 18


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_experiment_opens_with_its_command_and_follows_its_protocol(path):
    config = load_experiment(path)
    assert from_mapping(yaml.safe_load(to_yaml(config)), "") == config, "written and read back equal"
    assert config.variant == path.stem
    assert path.read_text().startswith("# ")
    assert f"poster-ml train --model {path.stem}" in path.read_text()
    assert config.model.family in FAMILIES
    if path.parent.name == "study":
        assert (config.protocol, config.train.monitor) == ("study", "accuracy")
        assert config.model.preprocessing == "unit"
    else:
        assert config.protocol == "sound"
        assert config.train.monitor.startswith("val_")
        assert config.train.keep_best
        assert config.model.preprocessing == ("unit" if config.model.family == "cnn" else "backbone")
        assert not config.augment.horizontal_flip


def study(name):
    return load_experiment(FOLDER / "study" / f"{name}.yaml")


def test_the_study_files_say_what_the_study_says():
    rates = {
        1e-3: ["basic_cnn", "regularized_cnn", "mobilenet_v2"],
        1e-4: ["augmented_cnn", "vgg16_features"],
        2e-5: ["vgg16_features_augmented", "inception_resnet_v2"],
        1e-6: ["vgg16", "inception_v3"],
    }
    assert sorted(name for names in rates.values() for name in names) == sorted(VARIANTS)
    assert all(study(name).train.learning_rate == rate for rate, names in rates.items() for name in names)
    augment = study("vgg16").augment
    assert (augment.rotation, augment.zoom, augment.shift, augment.shear) == (50, 0.3, 0.2, 0.2)
    assert augment.horizontal_flip
    assert augment.fill == "nearest"
    assert study("vgg16").model.unfreeze == ("block4", "block5")
    assert study("vgg16").train.patience == 5
    assert study("inception_v3").train.optimizer == "adam"
    assert {study(name).train.batch_size for name in VARIANTS} == {32}
