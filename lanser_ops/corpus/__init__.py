"""From what --input names to work units."""
