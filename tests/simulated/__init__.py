"""The service under a seeded scheduler, with virtual time and injected faults."""
