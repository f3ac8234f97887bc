"""What runs on a device, with Python 3.6 and up: runtimes, video, comparison of runtimes, diagnosis, performance
estimates."""
