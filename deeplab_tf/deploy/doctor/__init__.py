"""`deeplab-tf doctor`: what this machine has, and what it can run. Needs the standard library alone; nothing here
raises."""
