"""How an image of any size meets a network of one size: stretched, padded, at its own size, or in windows."""

from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError, WrongCall, did_you_mean
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.modes import ANY_SIZE, MAX_OVERLAP, MODES
from deeplab_tf.core.predictor import Predictor

SIZE_STEP = 32
"""Heights and widths that a network was not made for are multiples of this, so that every stage has a whole size."""


class Fit(NamedTuple):
    """Where an image lies in the network's frame: at its top left.

    Attributes:
        image: height, width of the resized image.
        frame: height, width of the frame; what the image leaves is filled with its mirror image.
    """

    image: Tuple[int, int]
    frame: Tuple[int, int]

    @property
    def padded(self) -> bool:
        """Whether the frame is larger than the image."""
        return self.image != self.frame


def choose_mode(network: Predictor, mode: Optional[str], overlap: Optional[float] = None) -> None:
    """Set a network's mode and overlap of windows; None leaves them as they are.

    Raises:
        WrongCall: no such mode or overlap, or one that the network's runtime cannot do.
    """
    if mode is not None:
        if mode not in MODES:
            raise WrongCall(f"There is no mode '{mode}'. {did_you_mean(mode, MODES)}")
        check_mode(network, mode)
        network.mode = mode
    if overlap is not None:
        if not 0 <= overlap <= MAX_OVERLAP:
            raise WrongCall(f"The overlap of windows must be 0 to {MAX_OVERLAP}; got {overlap}.")
        if network.mode != "slide":
            raise WrongCall(f"An overlap goes with the mode slide; the mode is {network.mode}.")
        network.overlap = overlap


def check_mode(network: Predictor, mode: str) -> None:
    """Raise WrongCall for a mode that needs other frame sizes than the one that a bundle takes."""
    if mode in ANY_SIZE and not network.takes_any_size:
        height, width = network.size
        raise WrongCall(
            f"The mode {mode} runs the network at the image's own size, and this bundle takes frames of "
            f"{height}x{width} only; use slide or pad, or the run itself."
        )


def fit(network: Predictor, size: Tuple[int, int], scale: float = 1.0) -> Fit:
    """Return where an image lies in its frame.

    Args:
        network: its mode is not slide.
        size: height, width of the image.
        scale: factor of the network's size and, in the mode native, of the image's.
    """
    frame = scaled_size(network.size, scale)
    if network.mode == "stretch":
        return Fit(frame, frame)
    check_mode(network, network.mode)
    if network.mode == "native":
        inside = scaled_size(size, scale)
    else:
        factor = min(frame[0] / size[0], frame[1] / size[1])
        height, width = (min(limit, max(1, int(round(side * factor)))) for side, limit in zip(size, frame))
        inside = (height, width)
    if network.mode == "pad":
        return Fit(inside, frame)
    height, width = (-(-side // SIZE_STEP) * SIZE_STEP for side in inside)
    return Fit(inside, (height, width))


def scaled_size(size: Tuple[int, int], scale: float) -> Tuple[int, int]:
    """Return height and width times `scale`, rounded to multiples of 32, at least 32; a scale of 1 changes nothing."""
    if not scale > 0:
        raise DeepLabError(f"A scale must be above 0; got {scale}.")
    if scale == 1.0:
        return size
    height, width = (max(SIZE_STEP, round(side * scale / SIZE_STEP) * SIZE_STEP) for side in size)
    return height, width


def to_frame(image: np.ndarray, place: Fit, *, mirrored: bool = False) -> np.ndarray:
    """Return the network's frame with the (H, W, 3) image in it."""
    image = resize_image(image, place.image)
    return pad(np.ascontiguousarray(image[:, ::-1]) if mirrored else image, place.frame)


def pad(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Return the image with its mirror image below and to the right of it, up to `size`; itself if it has that size."""
    while image.shape[:2] != tuple(size):  # a mirror image is no larger than the image
        height, width = (min(want, 2 * have) - have for want, have in zip(size, image.shape))
        image = cv2.copyMakeBorder(image, 0, height, 0, width, cv2.BORDER_REFLECT)
    return image
