from pathlib import Path

import pytest

from poster_ml.training.code_version import code_digest

CODE = '"""A module."""\n\n\ndef double(x):\n    """Doubles."""\n    return 2 * x  # twice\n'


def digest_of(root: Path, code: str) -> str:
    root.mkdir()
    (root / "models").mkdir()
    (root / "models" / "one.py").write_text(code)
    return code_digest("models", root=root)


def test_what_a_program_does_counts_and_what_it_says_of_itself_does_not(tmp_path):
    base = digest_of(tmp_path / "a", CODE)
    told = CODE.replace("Doubles.", "Returns twice as much.").replace("  # twice", "") + "\n\n# done\n"
    assert digest_of(tmp_path / "b", told) == base
    assert digest_of(tmp_path / "c", CODE.replace("2 * x", "3 * x")) != base


def test_a_part_that_was_moved_away_is_noticed(tmp_path):
    with pytest.raises(FileNotFoundError):
        code_digest("gone.py", root=tmp_path)
