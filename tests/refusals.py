"""What a call says that is refused."""

from collections.abc import Callable

import pytest


def refusal(kind: type[Exception], call: Callable[..., object], *arguments: object, **options: object) -> str:
    """The one line with which a call refuses its arguments."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
