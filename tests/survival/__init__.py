"""Evidence that the service survives: kills, faults, outages and rivals, under load; see docs/testing.md."""
