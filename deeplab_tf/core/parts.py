"""One of several parts of some files, for as many processes: which files it has depends on their names alone."""

import hashlib
import re
from typing import NamedTuple

from deeplab_tf.core.errors import DeepLabError

MOST = 100000
"""Parts."""


class Part(NamedTuple):
    """Part `number` of `total`; the first is 1."""

    number: int = 1
    total: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def file_name(self) -> str:
        """The part in a file's name: "3-of-8"."""
        return f"{self.number}-of-{self.total}"

    def has(self, name: str) -> bool:
        """Return whether a file is in this part: every name is in just one, whatever other files there are."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.total == self.number - 1


WHOLE = Part()


def parse_part(text: str) -> Part:
    """Return the part that text like "3/8" names. Raise DeepLabError for other text, and for part 0 or 9 of 8."""
    found = re.match(r"([0-9]{1,9})/([0-9]{1,9})$", text.strip())
    if found is None:
        raise DeepLabError(f"'{text[:50]}' is no part; write i/n, such as 3/8 for the third of eight parts.")
    part = Part(*map(int, found.groups()))
    if not 1 <= part.total <= MOST:
        raise DeepLabError(f"'{text}': there can be 1 to {MOST} parts.")
    if not 1 <= part.number <= part.total:
        number = f"add 1 to an index that counts from 0: {part.number + 1}/{part.total}"
        advice = number if part.number == 0 else f"the last is {part.total}/{part.total}"
        raise DeepLabError(f"'{text}': parts count from 1/{part.total} to {part.total}/{part.total}; {advice}.")
    return part


class NamesAndSizes:
    """The digest of the label files of two folders by their names and sizes, in whatever order they come.

    Attributes:
        images: how many truths there are.
    """

    def __init__(self):
        self.images = 0
        self._sum = 0

    def add(self, name: str, size: int, *, truth: bool) -> None:
        """Add a file, a truth or a prediction; `name` is its image's."""
        line = f"{truth}\0{name}\0{size}".encode("utf-8", "surrogateescape")
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(line).digest(), "big")) % (1 << 256)
        self.images += truth

    def add_content(self, digest: str) -> None:
        """Add the digest of what is in a file, where its size alone would not do."""
        self._sum = (self._sum + int(digest, 16)) % (1 << 256)

    def hexdigest(self) -> str:
        """Return the digest, 64 characters."""
        return f"{self._sum:064x}"
