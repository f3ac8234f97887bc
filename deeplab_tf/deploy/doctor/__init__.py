"""`deeplab-tf doctor`: what this machine has, and what it can run. Needs only the standard library; nothing raises."""
