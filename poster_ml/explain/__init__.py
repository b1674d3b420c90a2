"""Class activation maps, intermediate layers, overlays, faithfulness."""
