"""report.html and the dataset card of an output directory."""
