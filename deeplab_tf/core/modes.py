"""How an image of another size is put before a network; see `deeplab_tf.core.fitting`."""

MODES = ("stretch", "pad", "keep_aspect", "native", "slide")
"""stretch: resized to the network's size. pad: resized to fit into it, and padded. keep_aspect: resized to fit into it,
at any such size. native: not resized. slide: windows of the network's size over the whole image."""

ANY_SIZE = ("keep_aspect", "native")
"""Modes that run the network at other sizes than its own, which only a run's can do."""

BUNDLE_MODES = tuple(mode for mode in MODES if mode not in ANY_SIZE)

MAX_OVERLAP = 0.9
"""Of windows."""
