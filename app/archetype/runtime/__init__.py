"""The face for scripts: a runtime over one database, and handles on its worlds."""
