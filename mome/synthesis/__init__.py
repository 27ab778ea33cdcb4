"""The mini corpus: talking heads, and baby models for its smallest size."""
