"""Commands that need no pipeline, one file each."""
