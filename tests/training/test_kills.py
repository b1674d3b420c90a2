"""Kill -9 in the middle of training, by the benchmark that does it twenty times."""

import os
import re
import subprocess
import sys


def test_a_killed_and_resumed_training_ends_with_every_number_equal(project):
    result = subprocess.run(
        [
            sys.executable,
            project / "benchmarks" / "resume.py",
            "--kills",
            "2",
            "--epochs",
            "4",
            "--seed",
            "1",
        ],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    kills, runs = re.findall(r"(\d+) kills, (\d+) runs: every weight, metric and logit equal", result.stdout)[
        0
    ]
    assert int(kills) >= 2
    assert int(runs) >= 1
