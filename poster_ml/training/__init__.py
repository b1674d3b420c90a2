"""Fitting, callbacks, frozen-feature cache, precision, resume. Knows no mlflow."""
