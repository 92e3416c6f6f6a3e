"""The review of an audit: a page on the loopback interface, decisions on disk, export of corrected labels."""
