"""poster-ml: does a poster tell whether critics will like the movie, and what in it does?

From Python: `load_model`, `train`, `evaluate` of `poster_ml.api`. They are imported when they are
first asked for, so that importing poster_ml takes milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poster_ml.api import Model, evaluate, load_model, train

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "evaluate", "load_model", "train"]


def __getattr__(name: str) -> Any:
    """Imports what `poster_ml.api` defines."""
    if name not in __all__:
        raise AttributeError(f"module 'poster_ml' has no attribute {name!r}")
    return getattr(importlib.import_module("poster_ml.api"), name)
