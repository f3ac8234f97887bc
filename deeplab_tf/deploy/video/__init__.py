"""Live video: sources, the stream loop, sinks. `frame.py` has what they hand to each other."""
