"""Label maps as polygons (GeoJSON) and as run lengths (COCO's RLE)."""

from typing import Any, Dict, Iterator, List, NamedTuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable

MAX_PIXELS = 1 << 27
"""Of a label map whose regions are traced, which takes 5 bytes a pixel."""


class Region(NamedTuple):
    """Connected pixels of a class; pixels that touch at a corner are connected.

    Attributes:
        class_id: of its pixels.
        rings: (N, 2) int32 columns and rows of the corners of each ring, not closed: the outline, then the holes. The
            pixel in row y and column x is the square from (x, y) to (x + 1, y + 1).
    """

    class_id: int
    rings: List[np.ndarray]


def regions(label_map: np.ndarray, table: LabelTable) -> Iterator[Region]:
    """Yield the regions of each class of the table, along the edges of the pixels.

    Each pixel is drawn as 2x2: the contours of OpenCV, which go through the centers of pixels, then tell on which side
    of a pixel its edge is.
    """
    if label_map.size > MAX_PIXELS:
        raise DeepLabError(f"Polygons are traced in at most {MAX_PIXELS} pixels; this label map has {label_map.size}.")
    present = np.flatnonzero(np.bincount(label_map.reshape(-1), minlength=256)[: len(table)])
    for class_id in present:
        mask = (label_map == class_id).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        doubled = mask[top : top + height, left : left + width].repeat(2, axis=0).repeat(2, axis=1)
        contours, levels = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[-2:]
        for i, contour in enumerate(contours):
            if levels[0, i, 3] < 0:  # no hole
                rings, hole = [contour], levels[0, i, 2]
                while hole >= 0:
                    rings.append(contours[hole])
                    hole = levels[0, hole, 0]
                yield Region(int(class_id), [_corners(ring) + (left, top) for ring in rings])


def _corners(contour):
    """Return the corners of pixels that a contour of doubled pixels goes through, without those on a straight line."""
    points = (contour[:, 0] + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, behind = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * behind[:, 1] != before[:, 1] * behind[:, 0]]


def geojson(label_map: np.ndarray, table: LabelTable) -> Dict[str, Any]:
    """Return a GeoJSON FeatureCollection: a polygon with holes for each region, in pixels from the top left corner.

    Its properties are `class` and `class_id`. Rows count downward, other than in maps.
    """
    features = []
    for class_id, rings in regions(label_map, table):
        closed = [np.concatenate([ring, ring[:1]]).tolist() for ring in rings]
        features.append(
            {
                "type": "Feature",
                "properties": {"class": table.names[class_id], "class_id": class_id},
                "geometry": {"type": "Polygon", "coordinates": closed},
            }
        )
    return {"type": "FeatureCollection", "features": features}


def coco_annotations(label_map: np.ndarray, table: LabelTable, image: str) -> List[Dict[str, Any]]:
    """Return an annotation in COCO's format for each class in a label map; `category_id` is the class id.

    Args:
        label_map: (H, W) uint8.
        table: the classes.
        image: the `image_id`.
    """
    found = []
    for class_id in np.flatnonzero(np.bincount(label_map.reshape(-1), minlength=256)[: len(table)]):
        mask = label_map == class_id
        found.append(
            {
                "image_id": image,
                "category_id": int(class_id),
                "category": table.names[class_id],
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                "area": int(mask.sum()),
                "bbox": [int(side) for side in cv2.boundingRect(mask.view(np.uint8))],
                "iscrowd": 0,
            }
        )
    return found


def run_lengths(mask: np.ndarray) -> str:
    """Return COCO's compressed RLE of a (H, W) bool mask: lengths of runs down the columns, of 0 first.

    From the third on each length is the difference from the one two before; then 5 bits a character, the lowest first,
    with a sixth bit where more follow (pycocotools, common/maskApi.c).
    """
    flat = mask.reshape(-1, order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0] * (1 + bool(flat[:1].any())), changes, [flat.size]])
    lengths = np.diff(edges)
    differences = lengths.copy()
    differences[3:] -= lengths[1:-2]
    return "".join(map(_characters, differences.tolist()))


def _characters(number: int) -> str:
    text, more = "", True
    while more:
        low, number = number & 31, number >> 5
        more = number != (-1 if low & 16 else 0)
        text += chr(48 + low + 32 * more)
    return text
