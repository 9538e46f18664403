"""Use cases: admitting and appending commands, running worlds, answering questions, and their wiring."""
