"""Accuracy against measured privacy, one point per perturbation, all on the same images."""
