"""Metrics with intervals, baselines, comparison, plots, the report page. NumPy and scikit-learn only."""
