"""One file per command: a recipe that reads from top to bottom."""
