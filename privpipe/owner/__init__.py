"""The owner's room: where the secrets are, the raw images and the key."""
