"""What a network costs a frame, and the frame rate that a device can reach with it."""
