"""WebDataset shards: written, read back, and relabelled."""
