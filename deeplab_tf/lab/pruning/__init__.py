"""Structured pruning: from a trained network to a smaller one."""
