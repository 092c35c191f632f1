"""Audio: decoding, recordings, and speech detection."""
