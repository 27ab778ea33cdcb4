"""Corpora: one file each, its layout and its quirks."""
