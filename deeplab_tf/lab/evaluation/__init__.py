"""Scores of a trained network on labeled images, and the report that shows them."""
