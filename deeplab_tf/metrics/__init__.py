"""Scores: NumPy only."""
