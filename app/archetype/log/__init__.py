"""The log's pure part: commands and facts, their canonical bytes and hashes, pages, and lineage."""
