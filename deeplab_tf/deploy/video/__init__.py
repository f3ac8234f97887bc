"""Live video: sources, the stream loop, sinks. `frame.py` has what they pass to each other."""
