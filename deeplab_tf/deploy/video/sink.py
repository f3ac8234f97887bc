"""The base class of all sinks of frames."""

import os
from typing import Optional

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import remove_parts
from deeplab_tf.deploy.video.frame import AnnotatedFrame


class Sink:
    """Receives a stream's frames; all sinks of a stream are called from one thread.

    Attributes:
        warning: a sentence that the report must say; None for none.
    """

    warning: Optional[str] = None

    def write(self, frame: AnnotatedFrame) -> None:
        """Take the next frame, in order. Must not wait for a viewer, nor change the arrays."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish; called once, also after an error."""


def make_folder(folder: str) -> None:
    """Make a folder to write into. Raise DeepLabError if that fails."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DeepLabError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise DeepLabError(f"The folder {folder} cannot be written: permission denied.")
    remove_parts(folder)
