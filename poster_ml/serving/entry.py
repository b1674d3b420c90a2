"""What MLflow runs to make the model ("models from code"): no pickle, so it loads on any Python version."""

from __future__ import annotations

from mlflow.models import set_model

from poster_ml.serving.pyfunc import PosterModel

set_model(PosterModel())
