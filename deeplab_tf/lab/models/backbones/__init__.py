"""One file a backbone; its name in a recipe is the name of the file."""
