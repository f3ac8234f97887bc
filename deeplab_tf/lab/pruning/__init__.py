"""From a trained network to a smaller one: which channels go, by what they cost and what they are worth."""
