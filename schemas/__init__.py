"""Records, their Parquet schemas, and the taxonomy type."""
