"""Talking heads for the mini corpus: speech, visemes, faces."""
