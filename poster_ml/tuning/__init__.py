"""Search spaces, the Optuna study and the KerasTuner search."""
