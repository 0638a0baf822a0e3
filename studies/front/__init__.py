"""Accuracy against how often an image is identified: releases of sets and training at home beside perturbations."""
