"""What trains, with Python 3.11 and TensorFlow: recipes, data, networks, training, evaluation, pruning and export."""
