"""Files: atomic writing, tables, records, listings, temporary folders, limits."""
