"""The counts of one part of the images, in a JSON file, and all parts together.

    {"written_by": "deeplab-tf score", "counts": 1, "version": "0.2.0", "part": [3, 8], "settings": {...},
     "data": {"truth": "gtFine/val", "prediction": "results", "images": 500, "digest": "..."}, "files": "...",
     "rows": [[name, ...], ...]}

Counts are kept image by image, so that all scores, those of single images too, come out as from one process.
"""

import hashlib
import json
import os
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core import __version__
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.files import replacing
from deeplab_tf.core.input_files import Value, read_json
from deeplab_tf.core.parts import MOST, Part

FORMAT = 1
"""Of these files."""
MAX_BYTES = 1 << 31


class Header(NamedTuple):
    """What the counts of a part are of.

    Attributes:
        part: of the images.
        settings: how they were counted; the same for all parts.
        data: the `truth` and `prediction` folders, how many `images` are in all parts, and the `digest` of their names
            and sizes.
        files: the digest of this part's files with their times; a part is counted again where it has changed.
        version: of the program.
    """

    part: Part
    settings: Dict[str, Any]
    data: Dict[str, Any]
    files: str
    version: str = __version__

    def to_dict(self) -> Dict[str, Any]:
        """Return the JSON object without the rows."""
        rest = self._replace(part=list(self.part))._asdict()  # type: ignore[arg-type]
        return {"written_by": "deeplab-tf score", "counts": FORMAT, **rest}


def write_counts(path: str, header: Header, rows: Iterable[Sequence]) -> int:
    """Write a file, a row at a time, and return how many there were; it is there when it is complete.

    Args:
        rows: of lists, strings, numbers and NumPy arrays; the first is the image's name.
    """
    count = 0
    with replacing(path) as temporary, open(temporary, "w", encoding="ascii") as file:
        file.write(json.dumps(header.to_dict(), indent=2)[:-2] + ',\n  "rows": [')
        for count, row in enumerate(rows, 1):
            plain = [each.tolist() if isinstance(each, np.ndarray) else each for each in row]
            file.write(("" if count == 1 else ",") + "\n    " + json.dumps(plain, separators=(",", ":")))
        file.write("\n  ]\n}\n")
    return count


def is_there(path: str, header: Header) -> Optional[int]:
    """Return the number of rows of a complete file with this very header; None where there is none."""
    try:
        found, rows = read_counts(path)
    except DeepLabError:
        return None
    return len(rows) if found == header else None


def read_counts(path: str) -> Tuple[Header, List[list]]:
    """Return the header and the rows of a file. Raise DeepLabError for another file, and for one of another version."""
    whole = Value(read_json(path, MAX_BYTES), path)
    if not isinstance(whole.value, dict) or "counts" not in whole.value:
        raise DeepLabError(f"{path} holds no counts; write them with: deeplab-tf score --part i/n --out {path}.")
    version = whole["version"].text()
    if whole["counts"].value != FORMAT or version != __version__:
        raise DeepLabError(
            f"{path} was written by version {version}, this is {__version__}; count all parts with one version."
        )
    number, count = whole["part"].rows(2, 2)
    total = count.integer(1, MOST)
    part = Part(number.integer(1, total), total)
    data = whole["data"]
    data.only("truth", "prediction", "images", "digest")
    data["truth"].text(5000), data["prediction"].text(5000), data["digest"].text(), data["images"].integer(0, 10**12)
    rows = whole["rows"].value
    if not isinstance(rows, list) or not all(isinstance(row, list) and row and isinstance(row[0], str) for row in rows):
        raise DeepLabError(f"{path}: rows must be a list of lists that begin with a name.")
    settings = whole["settings"].mapping()
    return Header(part, settings, data.mapping(), whole["files"].text(), version), rows


def merge_counts(paths: Sequence[str]) -> Tuple[Header, List[list]]:
    """Return what all parts have in common, and the rows of all, sorted by name.

    Raises:
        DeepLabError: the files are not each part of one whole, just once.
    """
    headers: Dict[Part, str] = {}
    rows: List[list] = []
    files = [read_counts(path) for path in paths]
    first = files[0][0]
    for path, (header, found) in zip(paths, files):
        _check_same(paths[0], first, path, header)
        if header.part in headers:
            raise DeepLabError(f"{headers[header.part]} and {path} are both part {header.part}; leave one.")
        headers[header.part] = path
        foreign = next((row[0] for row in found if not header.part.has(row[0])), None)
        if foreign is not None:
            raise DeepLabError(f"{path} holds {foreign}, which is not in part {header.part}; count that part again.")
        rows += found
    count = first.part.total
    missing = [f"{i}/{count}" for i in range(1, count + 1) if Part(i, count) not in headers]
    if missing:
        named = "file is" if len(paths) == 1 else f"{len(paths)} files are"
        raise DeepLabError(
            f"The {named} not all of {count} parts: missing {some_of(missing)}. Name all files that score --part wrote."
        )
    rows.sort(key=lambda row: row[0])
    repeated = next((two[0][0] for two in zip(rows, rows[1:]) if two[0][0] == two[1][0]), None)
    if repeated is not None or len(rows) != first.data["images"]:
        what = f"hold {repeated} twice" if repeated is not None else f"hold {len(rows)} images"
        raise DeepLabError(f"The parts {what}, and there are {first.data['images']} images; count all parts again.")
    return first, rows


def _check_same(path, first, other_path, other):
    """Raise DeepLabError unless two parts are of one whole."""
    if other.part.total != first.part.total:
        raise DeepLabError(
            f"{path} is part {first.part} and {other_path} part {other.part}; merge parts of one division."
        )
    different = sorted(
        key for key in {**first.settings, **other.settings} if first.settings.get(key) != other.settings.get(key)
    )
    if different:
        raise DeepLabError(
            f"{path} and {other_path} were counted with other settings ({', '.join(different)}); use the same options "
            "for all parts."
        )
    if (first.data["digest"], first.data["images"]) != (other.data["digest"], other.data["images"]):
        raise DeepLabError(
            f"{path} and {other_path} were counted on other data: {first.data['images']} images in "
            f"{first.data['prediction']} and {other.data['images']} in {other.data['prediction']}, of other names or "
            "sizes. Count all parts on the same files."
        )


def times_of(paths: Iterable[str]) -> str:
    """Return a digest of files: of their names, sizes and times."""
    digest = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        line = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
