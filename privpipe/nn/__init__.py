"""The cloud's room: it sees perturbed files only, never a key or a raw image."""
