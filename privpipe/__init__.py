"""privpipe: what privacy-preserving image perturbations cost in accuracy, and what they hide.

The rooms (see `docs/design.md`): `owner` holds the secrets, `cloud` sees perturbed files only,
`perturb` and `store` are public ground, `report` may see all.
"""

__version__ = "0.1.0"
