"""Labels of photos whose EXIF orientation turns them: on the upright photo, or on its pixels as stored.

Label files have no orientation, and label tools differ. The sizes say how a label lies where the turn swaps height and
width; for the other photos those of the same split decide.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_header import about_orientation, read_header


class _Row(Protocol):
    @property
    def image(self) -> str: ...
    @property
    def label(self) -> str: ...


class _Reader(Protocol):
    def size(self, path: str) -> tuple[int, ...]: ...


class _Evidence(NamedTuple):
    upright: str | None  # a photo whose label lies on the upright photo
    stored: str | None  # one whose label lies on the pixels as stored


class LabelOrientation:
    """How the labels of a split lie."""

    def __init__(self, rows: Sequence[_Row], reader: _Reader, given: str):
        """
        Args:
            rows: the samples.
            reader: of their labels.
            given: "upright", "stored" or, as the sizes say, "auto".
        """
        self._rows, self._reader, self._given = rows, reader, given

    def of_label(self, row: _Row, size: Sequence[int]) -> int:
        """Return the EXIF orientation by which a label must be turned to lie on its upright photo; 1: not at all.

        Args:
            row: the sample.
            size: height, width of the label.

        Raises:
            DeepLabError: neither the sizes nor the recipe say how the label lies, or they contradict each other.
        """
        header = read_header(row.image)
        if header is None or header.orientation == 1:
            return 1
        fits = [name for name in ("stored", "upright") if tuple(size) == getattr(header, _SIZES[name])]
        if not fits:
            return 1  # the sizes differ, which is said elsewhere
        if self._given not in ("auto", *fits):
            raise DeepLabError(
                f"Label {row.label} of photo {row.image} has the size of the {fits[0]} photo (EXIF orientation "
                f"{header.orientation}), which contradicts data.label_orientation: {self._given}; set it to auto."
            )
        if len(fits) == 1:
            return header.orientation if fits[0] == "stored" else 1
        given = self._decided if self._given == "auto" else self._given
        if given is None:
            raise DeepLabError(about_orientation(header, row.image, row.label) + self._why)
        return header.orientation if given == "stored" else 1

    @functools.cached_property
    def _evidence(self) -> _Evidence:
        found: dict[str, str] = {}
        for row in self._rows:
            header = read_header(row.image)
            if header is not None and header.orientation > 4 and header.size[0] != header.size[1]:
                size = tuple(self._reader.size(row.label))
                for name, key in _SIZES.items():
                    if size == getattr(header, key):
                        found.setdefault(name, row.image)
        return _Evidence(found.get("upright"), found.get("stored"))

    @property
    def _decided(self):
        known = [name for name in _Evidence._fields if getattr(self._evidence, name)]
        return known[0] if len(known) == 1 else None

    @property
    def _why(self):
        upright, stored = self._evidence
        if upright and stored:
            return f" The labels of other photos say both: that of {upright} lies upright, that of {stored} as stored."
        return ""


_SIZES = {"stored": "size", "upright": "upright_size"}
