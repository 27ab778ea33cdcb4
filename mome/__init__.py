"""MoME: audio-visual speech recognition with a Mixture of Matryoshka Experts."""

__version__ = "0.2.0"
