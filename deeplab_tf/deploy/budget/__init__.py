"""What a network costs per frame, and the frame rate that a device can reach with it."""
