"""Kill -9 in the middle of training, by the benchmark that does it twenty times."""

import re

from tests.programs import run_python


def test_a_killed_and_resumed_training_ends_with_every_number_equal():
    arguments = ("benchmarks/resume.py", "--kills", 1, "--epochs", 3, "--seed", 1)
    said = run_python(*arguments, KERAS_BACKEND="tensorflow").stdout
    ((kills, runs),) = re.findall(r"(\d+) kills, (\d+) runs: every weight, metric and logit equal", said)
    assert int(kills) >= 1
    assert int(runs) >= 1
