"""One file per command that does work: a flat list of steps, and the only place that unpacks a config."""
