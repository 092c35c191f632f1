"""An output directory for other loaders: one module per format. See docs/loaders.md."""
