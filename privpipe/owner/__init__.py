"""Where the secrets are, the raw images and the key."""
