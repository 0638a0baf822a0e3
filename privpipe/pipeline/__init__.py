"""Whole experiments, sweeps of them, digests of code, and the state of a project: what plays all roles."""
