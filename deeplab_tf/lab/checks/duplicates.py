"""Images that are the same, or nearly: saved again as JPEG, cropped by a few percent, or neighbors in a video.

Candidates have similar perceptual hashes (pHash, by the package ImageHash) and similar thumbnails of 16x16 pixels. Two
of them are near duplicates where one thumbnail lies in the other, at 90 % to 100 % of its size, and both correlate.
"""

import hashlib
import importlib.util
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 64
"""Pixels a side of a thumbnail, whatever the image's aspect ratio."""
MAX_DISTANCE = 20
"""Bits, of 64, in which two hashes may differ."""
MIN_COARSE = 0.85
"""Correlation of thumbnails of 16x16 pixels."""
MIN_CORRELATION = 0.98
"""Of a smoothed thumbnail with the best place in the other: a crop of 5 %, saved as JPEG of quality 60, has 0.984."""
FLAT = 2.0
"""Gray levels: a thumbnail with a lower standard deviation shows nothing to compare."""

MIN_HALF = 0.93
"""Of thumbnails of half the size, which are compared first."""
_AT_ONCE = 32
_SCALES = (1.0, 0.975, 0.95, 0.925, 0.9)
_SIZES = [(high, wide) for high in _SCALES for wide in _SCALES if 1.0 in (high, wide) or high == wide]


class Fingerprint(NamedTuple):
    """What is kept of an image to compare it."""

    digest: bytes  # of its size and pixels
    thumbnail: np.ndarray  # (SIDE, SIDE) uint8, gray
    hash: np.ndarray | None  # (8,) uint8; None without ImageHash, or for a flat image


class Group(NamedTuple):
    """Images that are one."""

    indices: tuple[int, ...]
    exact: bool  # the same pixels


def can_hash() -> bool:
    """Return whether ImageHash is installed, without which only exact duplicates are found."""
    return importlib.util.find_spec("imagehash") is not None


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Return the fingerprint of an (H, W, 3) or (H, W) uint8 image."""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(digest.digest(), thumbnail, _hash(thumbnail) if can_hash() and thumbnail.std() > FLAT else None)


def _hash(thumbnail):
    import imagehash
    from PIL import Image

    return np.packbits(imagehash.phash(Image.fromarray(thumbnail)).hash)


def duplicates(prints: Sequence[Fingerprint]) -> list[Group]:
    """Return the groups of duplicates, the exact ones first; an image may be in a group of each kind."""
    by_digest: dict[bytes, list[int]] = {}
    for index, each in enumerate(prints):
        by_digest.setdefault(each.digest, []).append(index)
    exact = [Group(tuple(group), True) for group in by_digest.values() if len(group) > 1]
    single = [group[0] for group in by_digest.values() if prints[group[0]].hash is not None]
    near = _near([prints[index] for index in single])
    return exact + [Group(tuple(single[index] for index in group), False) for group in near]


def _near(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Return the groups of near duplicates, each sorted."""
    if len(prints) < 2:
        return []
    signs = np.unpackbits(np.array([each.hash for each in prints]), axis=1).astype(np.float32) * 2 - 1  # (N, 64)
    coarse = np.stack([_unit(cv2.resize(each.thumbnail, (16, 16), interpolation=cv2.INTER_AREA)) for each in prints])
    smooth = [cv2.GaussianBlur(each.thumbnail, (0, 0), 1.0) for each in prints]
    groups = {index: [index] for index in range(len(prints))}

    def contains(pair):
        return groups[pair[0]] is not groups[pair[1]] and _contains(smooth[pair[0]], smooth[pair[1]])

    candidates = _candidates(signs, coarse)
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(candidates), _AT_ONCE):  # what is joined by then is not compared
            pairs = candidates[start : start + _AT_ONCE]
            for (first, second), same in zip(pairs, threads.map(contains, pairs)):
                if same and groups[first] is not groups[second]:
                    merged = sorted(groups[first] + groups[second])
                    groups.update(dict.fromkeys(merged, merged))
    return sorted(group for group in {id(group): group for group in groups.values()}.values() if len(group) > 1)


def _candidates(signs, coarse) -> list[tuple[int, int]]:
    """Return the pairs that are worth a closer look, the most similar first; `signs` are the bits of the hashes, each
    -1 or 1."""
    found: list[tuple[float, int, int]] = []
    for first in range(0, len(signs), 256):  # rows at a time: bounded memory
        equal = signs[first : first + 256] @ signs.T  # equal bits less different ones
        rows, columns = np.nonzero(equal >= 64 - 2 * MAX_DISTANCE)
        later = columns > rows + first
        rows, columns = rows[later] + first, columns[later]
        alike = np.einsum("ij,ij->i", coarse[rows], coarse[columns]) >= MIN_COARSE
        found += zip(-equal[rows - first, columns][alike], rows[alike].tolist(), columns[alike].tolist())
    return [(first, second) for _, first, second in sorted(found)]


def _unit(pixels):
    values = pixels.astype(np.float32).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def _contains(first, second) -> bool:
    """Return whether one of two smoothed thumbnails lies in the other; where it does not, half the size shows that."""
    halves = [cv2.resize(each, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) for each in (first, second)]
    return _lies_in(halves[0], halves[1], MIN_HALF) and _lies_in(first, second, MIN_CORRELATION)


def _lies_in(first, second, least) -> bool:
    side = len(first)
    for scale, (whole, part) in itertools.product(_SIZES, ((first, second), (second, first))):
        height, width = (round(side * each) for each in scale)
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        if cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max() >= least:
            return True
    return False
