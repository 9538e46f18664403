"""Everything in SQL: the tables, and each statement that reads or writes them, on SQLite and PostgreSQL."""
