"""Labelled speech: published corpora, CSV files, and the folds to evaluate on."""
