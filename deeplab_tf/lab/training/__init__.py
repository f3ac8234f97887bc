"""Everything between a recipe and a trained run."""
