"""Transcripts to weak labels: the backend protocol, the backends, and the arithmetic on stored scores."""
