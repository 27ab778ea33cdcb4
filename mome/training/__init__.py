"""A training run: its folder, what it measures and saves, and what runs before the main loop."""
