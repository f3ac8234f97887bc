"""`deeplab-tf compare`: every runtime of this machine on the same frames, each in a process of its own."""
