"""The panoptic maps of a stream, in COCO's format."""

import glob
import os
from typing import List, Sequence, Set

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.coco import JSON_NAME, PNG_SUFFIX, PanopticWriter
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.sink import Sink, make_folder


class PanopticFolderSink(Sink):
    """One PNG of segment ids per frame, and panoptic.json at the end: NAME_panoptic.png for an image file, else
    00000012_panoptic.png by its number."""

    def __init__(self, folder: str, table: LabelTable, method: str):
        """Take the folder, the classes and one of `deeplab_tf.core.panoptic.METHODS`."""
        make_folder(folder)
        self._writer = PanopticWriter(folder, table, method)
        self._names: Set[str] = set()

    @staticmethod
    def paths(folder: str, images: Sequence[str]) -> List[str]:
        """Return the files that a sink writes, as `ImageFolderSink.paths` does."""
        stems = [os.path.splitext(os.path.basename(path))[0] for path in images]
        found = [os.path.join(folder, stem + PNG_SUFFIX) for stem in stems]
        found = found or glob.glob(os.path.join(glob.escape(folder), "[0-9]" * 8 + PNG_SUFFIX))
        return [*found, os.path.join(folder, JSON_NAME)]

    def write(self, frame: AnnotatedFrame) -> None:
        if frame.panoptic is None:
            raise DeepLabError("There is no panoptic map to write; the stream was not asked for one.")
        number = f"{frame.number:08d}"
        name = os.path.splitext(os.path.basename(frame.name))[0] if frame.name else number
        if name in self._names:  # image ids have no folders
            name = f"{name}_{number}"
        self._names.add(name)
        numbers = None if frame.things is None else {thing.value: thing.id for thing in frame.things}
        self._writer.add(name, frame.panoptic, frame.name, track_ids=numbers)

    def close(self) -> None:
        if self._names:
            self._writer.close()
