"""What the cloud runs: it sees perturbed files only, never a key or a raw image."""
