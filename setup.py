"""What Dataflow's ``--setup_file`` takes; everything about the package is in pyproject.toml."""

from setuptools import setup

setup()
