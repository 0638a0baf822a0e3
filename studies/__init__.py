"""Sweeps of experiments, each a DVC project of its own in its folder."""
