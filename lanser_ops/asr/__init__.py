"""Speech recognition: the backend protocol, the backends, and audio to transcripts."""
