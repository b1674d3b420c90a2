"""`poster-ml synth`: posters with a known cause and a known best accuracy."""

from __future__ import annotations

from poster_ml.synthetic.writing import write_posters as run_synth

__all__ = ["run_synth"]
