"""Decoding, recordings, and where speech is in them."""
