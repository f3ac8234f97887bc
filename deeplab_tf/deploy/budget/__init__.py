"""What a network costs a frame, and what a device can do with it: operations, bytes, a roofline."""
