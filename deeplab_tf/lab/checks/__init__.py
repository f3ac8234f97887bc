"""What `deeplab-tf check` looks for in a dataset before a training."""
