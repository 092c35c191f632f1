"""What the trainer shares with the pipelines. Imports neither Beam nor a recogniser."""
