"""Things followed from frame to frame, by number. Numbers can change or be swapped where things hide each other.

A thing's mask is moved and scaled to where its box is expected, by the speed of the box's edges, and laid over the
frame: what it covers there is the same thing (mask IoU after motion, as in SORT and its kin; Bewley et al., ICIP 2016).
All things are laid over the frame at once. A thing that is hidden in part keeps its shape and its speed; one that is
hidden keeps moving until it comes back or `patience` is over.
"""

from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np

from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, distinct, thing_classes

CONFIRMED = 3
"""Frames until a thing counts as seen."""
_SAMPLED = 1 << 19  # pixels of a frame that are looked at, about: small things are few pixels
_MASK = 1000  # of them that stand for the mask of a large thing
_LEAST_IOU = 0.2
_LEAST_COVER = 0.5  # of the smaller mask
_LEAST_INSIDE = 0.7  # of a box, in the larger one where a hidden thing is expected
_HIDDEN = 0.85  # a mask below this share of the expected one is partly hidden
_HIDDEN_S = 0.4  # seconds after which a smaller mask is the thing's own
_GAIN = 0.5  # of a new speed against that before
_ROUNDING, _ROUNDING_GAIN = 1.0, 0.15  # an edge this close to where it was expected may be off by rounding alone


class Thing(NamedTuple):
    """A thing in a frame.

    Attributes:
        id: its number, from 1, never used again.
        class_id: its class.
        value: of its pixels in the frame's panoptic map.
        pixels: about how many.
        box: x, y, width and height in pixels.
        frames: in how many it was seen so far, this one included.
    """

    id: int
    class_id: int
    value: int
    pixels: int
    box: Tuple[int, int, int, int]
    frames: int


class _Segments(NamedTuple):
    """The things of one frame, sampled."""

    where: np.ndarray  # (h, w) int32: which of the N things, or -1
    values: np.ndarray  # (N,) of the panoptic map
    pixels: np.ndarray  # (N,) samples
    boxes: np.ndarray  # (N, 4) float: top, left, bottom, right in samples, the latter two exclusive
    places: List[Tuple[np.ndarray, np.ndarray]]  # rows and columns of samples of each, at most _MASK or so


class _Track:
    """A thing that is followed; boxes and pixels in samples."""

    def __init__(self, number, value, time):
        self.id, self.class_id, self.frames = number, value // DIVISOR, 0
        self.time, self.seen, self.whole = time, time, time  # of the box; when last seen; when last seen as a whole
        self.box, self.speed = np.zeros(4), np.zeros(4)
        self.rows = self.columns = np.zeros(0)
        self.pixels = 0  # that rows and columns stand for

    def expected(self, time) -> np.ndarray:
        """Return the box at a time: a speed is trusted for long, a growth is not."""
        box = self.box + self.speed * (time - self.time)
        if (box[2:] - box[:2] < 0.5 * (self.box[2:] - self.box[:2])).any():
            middle = 0.5 * (box[:2] + box[2:])
            half = 0.5 * (self.box[2:] - self.box[:2])
            box = np.concatenate([middle - half, middle + half])
        return box


class Tracker:
    """Numbers the things of a video's panoptic maps; call `update` for each frame in turn."""

    def __init__(self, table: LabelTable, *, patience: float = 2.0):
        """
        Args:
            table: the classes; things of one class are followed apart from those of others.
            patience: seconds for which a hidden thing is expected back.
        """
        self._things, self._patience = thing_classes(table), patience
        self._tracks: List[_Track] = []
        self._next = 1
        self._distinct = np.zeros(len(table), np.int64)

    @property
    def distinct(self) -> List[int]:
        """How many different things of each class were seen so far, by class id, without what flickers up."""
        return [int(count) for count in self._distinct]

    @property
    def followed(self) -> Set[int]:
        """The numbers of the things of the latest frame, and of the hidden ones that are expected back."""
        return {track.id for track in self._tracks}

    def update(self, panoptic: np.ndarray, time: float) -> List[Thing]:
        """Return the things of the next frame, by their values in its panoptic map.

        Args:
            panoptic: (H, W) int32 panoptic map.
            time: of the frame in seconds; more than that of the frame before.
        """
        stride = max(1, int(round((panoptic.size / float(_SAMPLED)) ** 0.5)))
        found = _segments(panoptic[::stride, ::stride], self._things)
        boxes = np.array([track.expected(time) for track in self._tracks]).reshape(-1, 4)
        pairs = self._matched(found, boxes)
        taken: Dict[int, _Track] = {}
        for track_index, segment in pairs:
            taken[segment] = self._tracks[track_index]
            _follow(taken[segment], boxes[track_index], found, segment, time)
        for segment in range(len(found.values)):
            if segment not in taken:
                taken[segment] = self._begin(found, segment, time)
        height, width = found.where.shape
        self._tracks = [each for each in self._tracks if self._is_expected(each, time, height, width)]
        return [self._thing(taken[i], found, i, stride) for i in range(len(found.values))]

    def _matched(self, found, boxes) -> List[Tuple[int, int]]:
        """Return (track, segment) for each thing that was found again."""
        if not self._tracks or not len(found.values):
            return []
        joint, area = _overlap(self._tracks, boxes, found)
        classes = np.array([track.class_id for track in self._tracks])
        same = classes[:, None] == (found.values // DIVISOR)[None]
        iou = joint / np.maximum(area[:, None] + found.pixels[None] - joint, 1e-9)
        cover = joint / np.maximum(np.minimum(area[:, None], found.pixels[None]), 1e-9)
        known = np.array([track.frames >= CONFIRMED for track in self._tracks])[:, None]
        pairs: List[Tuple[int, int]] = []
        for score, least, allowed in (  # who is known comes first: a thing that comes back may look like a new one
            (iou, _LEAST_IOU, same & known),
            (cover, _LEAST_COVER, same & known),
            (_coming_back(boxes, area, found), _LEAST_INSIDE, same & known),
            (iou, _LEAST_IOU, same),
            (cover, _LEAST_COVER, same),
            (_nearness(boxes, area, found), 1e-6, same),
        ):
            pairs = _best_pairs(np.where(allowed, score, 0.0), least, pairs)
        return pairs

    def _begin(self, found, segment, time) -> _Track:
        track = _Track(self._next, int(found.values[segment]), time)
        self._next += 1
        self._tracks.append(track)
        track.box = found.boxes[segment]
        track.rows, track.columns = found.places[segment]
        track.pixels = int(found.pixels[segment])
        return track

    def _is_expected(self, track, time, height, width) -> bool:
        if track.seen == time:
            return True
        top, left, bottom, right = track.expected(time)
        inside = bottom > 0 and right > 0 and top < height and left < width
        return inside and track.frames >= CONFIRMED and time - track.seen <= self._patience

    def _thing(self, track, found, segment, stride) -> Thing:
        track.frames += 1
        if track.frames == CONFIRMED:
            self._distinct[track.class_id] += 1
        top, left, bottom, right = (int(round(edge * stride)) for edge in found.boxes[segment])
        pixels = int(found.pixels[segment]) * stride * stride
        box = left, top, right - left, bottom - top
        return Thing(track.id, track.class_id, int(found.values[segment]), pixels, box, track.frames)


def _segments(panoptic, things) -> _Segments:
    """Return the things of a sampled panoptic map."""
    values, pixels, index = distinct(np.ascontiguousarray(panoptic).reshape(-1))
    single = things[np.minimum(values // DIVISOR, IGNORE_LABEL)] & (values % DIVISOR > 0) & (values < VOID)
    lookup = np.where(single, np.cumsum(single) - 1, -1).astype(np.int32)
    values, pixels, index = values[single], pixels[single], lookup[index]
    places = np.flatnonzero(index >= 0)
    order = np.argsort(index[places].astype(np.uint16), kind="stable")
    places = places[order]
    rows, columns = np.divmod(places, panoptic.shape[1])
    starts = np.cumsum(pixels) - pixels
    boxes = np.zeros((len(values), 4))
    if len(values):
        boxes[:, 0], boxes[:, 2] = np.minimum.reduceat(rows, starts), np.maximum.reduceat(rows, starts) + 1
        boxes[:, 1], boxes[:, 3] = np.minimum.reduceat(columns, starts), np.maximum.reduceat(columns, starts) + 1
    chosen = [slice(start, start + count, 1 + count // _MASK) for start, count in zip(starts, pixels)]
    parts = [(rows[each], columns[each]) for each in chosen]
    return _Segments(index.reshape(panoptic.shape), values, pixels, boxes, parts)


def _overlap(tracks: Sequence[_Track], boxes, found) -> Tuple[np.ndarray, np.ndarray]:
    """Return the (T, N) samples that masks at their expected boxes share with the frame's things, and the (T,) samples
    of those masks."""
    counts = np.array([len(track.rows) for track in tracks])
    before = np.array([track.box for track in tracks])
    scale = (boxes[:, 2:] - boxes[:, :2]) / np.maximum(before[:, 2:] - before[:, :2], 1e-9)
    which = np.repeat(np.arange(len(tracks)), counts)
    offset = boxes[:, :2] + (0.5 - before[:, :2]) * scale  # of the middle of a sample
    rows = np.floor(np.concatenate([t.rows for t in tracks]) * scale[which, 0] + offset[which, 0]).astype(np.int64)
    columns = np.floor(np.concatenate([t.columns for t in tracks]) * scale[which, 1] + offset[which, 1]).astype(
        np.int64
    )
    height, width = found.where.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    segment = found.where[rows[inside], columns[inside]]
    hit = segment >= 0
    shape = len(tracks), len(found.values)
    joint = np.bincount(which[inside][hit] * shape[1] + segment[hit], minlength=shape[0] * shape[1]).reshape(shape)
    weight = np.array([track.pixels for track in tracks]) / np.maximum(counts, 1)
    density = np.prod(scale, axis=1) * weight
    # of the expected mask only what lies in the frame can be found
    return joint * density[:, None], np.bincount(which[inside], minlength=shape[0]) * density


def _coming_back(boxes, area, found) -> np.ndarray:
    """Return (T, N): the share of each box that lies where a thing is expected, or a quarter of its size beside."""
    margin = 0.25 * (boxes[:, 2:] - boxes[:, :2]) + 1.0
    low = np.maximum((boxes[:, :2] - margin)[:, None], found.boxes[None, :, :2])
    high = np.minimum((boxes[:, 2:] + margin)[:, None], found.boxes[None, :, 2:])
    shared = np.prod(np.maximum(0.0, high - low), axis=2)
    share = shared / np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)[None]
    return np.where(found.pixels[None] < 1.5 * np.maximum(area, 1.0)[:, None], share, 0.0)


def _nearness(boxes, area, found) -> np.ndarray:
    """Return (T, N): 1 for boxes with one middle, 0 for those a mean size apart and those of other sizes."""
    middles, others = 0.5 * (boxes[:, :2] + boxes[:, 2:]), 0.5 * (found.boxes[:, :2] + found.boxes[:, 2:])
    sizes = 0.5 * ((boxes[:, 2:] - boxes[:, :2])[:, None] + (found.boxes[:, 2:] - found.boxes[:, :2])[None])
    apart = np.abs(middles[:, None] - others[None]) / (0.75 * sizes + 1.0)
    ratio = np.maximum(area, 1.0)[:, None] / found.pixels[None]
    alike = (ratio > 0.25) & (ratio < 4.0)
    return np.where(alike, np.maximum(0.0, 1.0 - np.hypot(apart[..., 0], apart[..., 1])), 0.0)


def _best_pairs(score: np.ndarray, least: float, pairs: List[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """Return `pairs` and, best first, those of a row and a column that are in none yet and have at least a score."""
    pairs, score = list(pairs), score.copy()
    for row, column in pairs:
        score[row], score[:, column] = 0.0, 0.0
    rows, columns = np.nonzero(score >= least)
    order = np.argsort(-score[rows, columns], kind="stable")
    free_rows, free_columns = np.ones(score.shape[0], bool), np.ones(score.shape[1], bool)
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return pairs


def _of_whole(change: np.ndarray) -> np.ndarray:
    """Return the changes of the edges' speeds without what shrinks a box: something covers it, and the edge that
    changes less is its own."""
    change = change.copy()
    for low, high in ((0, 2), (1, 3)):
        if change[high] < change[low]:
            change[low] = change[high] = min(change[low], change[high], key=abs)
    return change


def _follow(track: _Track, expected: np.ndarray, found: _Segments, segment: int, time: float) -> None:
    """Move a track to a thing of the frame."""
    box, elapsed = found.boxes[segment], time - track.time
    before = np.prod(track.box[2:] - track.box[:2])
    area = track.pixels * np.prod(expected[2:] - expected[:2]) / max(before, 1e-9)
    height, width = found.where.shape
    leaves = box[0] <= 0 or box[1] <= 0 or box[2] >= height or box[3] >= width
    hidden = found.pixels[segment] < _HIDDEN * area and not leaves and time - track.whole < _HIDDEN_S
    track.seen = time
    if hidden and track.frames >= CONFIRMED:
        # it goes on as it went, with the shape and the speed of the whole; but what is seen of it is inside
        beside = np.minimum(0.0, box[:2] - expected[:2]) + np.maximum(0.0, box[2:] - expected[2:])
        track.box = track.box + np.concatenate([beside, beside])
        return
    track.whole = time
    if elapsed > 0:
        change = (box - track.box) / elapsed - track.speed
        gain = np.where(np.abs(box - expected) <= _ROUNDING, _ROUNDING_GAIN, _GAIN)
        track.speed = track.speed + (change if track.frames < 2 else gain * _of_whole(change))
    track.box, track.time = box, time
    track.rows, track.columns = found.places[segment]
    track.pixels = int(found.pixels[segment])
