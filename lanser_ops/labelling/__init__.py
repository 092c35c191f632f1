"""Transcripts to weak labels: the backend protocol, the backends, and what is done with stored scores."""
