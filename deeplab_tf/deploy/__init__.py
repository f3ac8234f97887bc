"""What runs on a device, with Python 3.6 or newer: runtimes, video, comparison of runtimes, diagnosis, estimates."""
