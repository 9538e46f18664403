"""What keeps a database and its servers from working, or soon will: found, and said with its remedy."""
