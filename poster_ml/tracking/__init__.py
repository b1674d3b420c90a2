"""The MLflow run: parameters, metrics with step, artifacts."""
