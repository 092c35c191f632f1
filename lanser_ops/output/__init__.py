"""The output directory: its files, what is done already, and what is reported."""
