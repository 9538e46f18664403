"""The system against a model of it that fits in one's head."""
