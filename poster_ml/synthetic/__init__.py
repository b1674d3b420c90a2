"""Posters with a known cause: how they are drawn, what decides their label, and how they are written."""
