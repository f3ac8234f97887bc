"""Scores of a trained network on labelled images, and the report that shows them."""
