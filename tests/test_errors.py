"""Messages: what was probably meant, and no passwords."""

import pytest

from poster_ml.errors import mask_passwords, nearest


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:geheim@host:1/db", "postgresql://me:***@host:1/db"),
        ("at http://me:ge@he/im@host/x?a=b, twice", "at http://me:***@host/x?a=b, twice"),
        ("API request to 'https://me:geheim@h' failed", "API request to 'https://me:***@h' failed"),
        ("mysql+pymysql://me:geheim@h/db and redis://:geheim@h", "mysql+pymysql://me:***@h/db and redis://:***@h"),
        ("postgresql://h/db?user=me&password=geheim&x=1", "postgresql://h/db?user=me&password=***&x=1"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("http://host:5000/models/poster@champion", "http://host:5000/models/poster@champion"),
        ("https://host/V1_@._V1.jpg models:/poster-cnn@champion", "https://host/V1_@._V1.jpg models:/poster-cnn@champion"),
        ("sqlite:////folder/mlflow.db some/file.log", "sqlite:////folder/mlflow.db some/file.log"),
    ],
)  # fmt: skip
def test_passwords_are_masked_wherever_a_library_puts_them(text, masked):
    assert mask_passwords(text) == masked


def test_a_right_name_is_not_offered_as_what_was_meant():
    assert nearest("vgg61", ["vgg16", "cnn"]) == " (did you mean 'vgg16'?)"
    assert nearest("vgg16", ["vgg16", "cnn"]) == ""
