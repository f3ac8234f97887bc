"""DeepLabV3+ from street images to a real-time network on a Jetson."""

__version__ = "0.2.0"
