"""A seeded campaign of damaged files, kills and faults against the command line; see README.md."""
