"""Checking everything that is stored against its hashes, and every row against the log."""
