"""The Beam pipelines that a user launches, one file each."""
