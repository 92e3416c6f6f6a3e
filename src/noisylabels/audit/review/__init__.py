"""The review of an audit: a page on loopback, decisions on disk, corrected labels out of them."""
