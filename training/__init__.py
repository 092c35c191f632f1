"""Models that learn from the shards. Imports neither Beam nor the pipelines."""
