"""Backbones: one file each, whose name is its name in a recipe."""
