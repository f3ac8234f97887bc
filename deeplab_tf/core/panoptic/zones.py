"""Things counted in zones and across lines of a picture.

Where a thing is: its foot, the middle of its mask's box in the lowest row of the mask, where it stands on the ground.
Places are x and y as shares of the picture's width and height, 0 to 1.

A thing counts once it was seen in three frames, from the first of them on. It enters a zone when its foot comes to be
inside, also where it is first seen there; it leaves when its foot is outside or when it is not followed any longer, so
that entered = left + inside. A hidden thing stays where it was. It crosses a line where the straight way between two
places of its foot does.
"""

import collections
from typing import Any, Collection, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.tracking import CONFIRMED, Thing

Place = Tuple[float, float]
"""x and y."""


class Region(NamedTuple):
    """A line or a zone.

    Attributes:
        name: unique among all.
        points: the two of a line, or the corners of a zone.
        classes: ids of those that count; None for all things.
    """

    name: str
    points: Tuple[Place, ...]
    classes: Optional[FrozenSet[int]] = None

    def counts(self, class_id: int) -> bool:
        """Return whether things of a class count here."""
        return self.classes is None or class_id in self.classes


class Regions(NamedTuple):
    """What is counted in a picture."""

    lines: Tuple[Region, ...] = ()
    zones: Tuple[Region, ...] = ()


def feet(panoptic: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return (N, 2) x and y of the feet of N segments, strictly between 0 and 1.

    Args:
        panoptic: (H, W) int32 panoptic map.
        values: of the segments, each of them in the map.
    """
    if not len(values):
        return np.zeros((0, 2))
    height, width = panoptic.shape
    changes = np.ones(panoptic.shape, bool)  # where a run of equal values begins in a row
    np.not_equal(panoptic[:, 1:], panoptic[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    found = panoptic.reshape(-1)[starts]
    order = np.argsort(values)
    place = np.minimum(np.searchsorted(values, found, sorter=order), len(values) - 1)
    which = order[place]
    wanted = np.asarray(values)[which] == found
    lengths = np.diff(np.append(starts, panoptic.size))
    which, starts, lengths = which[wanted], starts[wanted], lengths[wanted]
    order = np.argsort(which, kind="stable")  # rows stay in order
    begins = np.searchsorted(which[order], np.arange(len(values)))
    rows, left = np.divmod(starts[order], width)
    bottom = np.maximum.reduceat(rows, begins)
    left, right = np.minimum.reduceat(left, begins), np.maximum.reduceat(left + lengths[order], begins)
    return np.stack([0.5 * (left + right) / width, (bottom + 0.5) / height], axis=1)


def contains(corners: Sequence[Place], places: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which of (N, 2) places lie in a polygon, whose edges belong to it on the left and at the
    top."""
    inside = np.zeros(len(places), bool)
    x, y = places[:, 0], places[:, 1]
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


def crossing(line: Sequence[Place], before: Place, after: Place) -> int:
    """Return 1 if the way from one place to another crosses a line forward, to the right of who walks from its first
    point to its second; -1 if backward; else 0."""
    (x0, y0), (x1, y1) = line
    along, down = x1 - x0, y1 - y0
    side = [along * (y - y0) - down * (x - x0) for x, y in (before, after)]
    if (side[0] >= 0) == (side[1] >= 0):
        return 0
    part = side[0] / (side[0] - side[1])
    x, y = (a + part * (b - a) for a, b in zip(before, after))
    at = ((x - x0) * along + (y - y0) * down) / (along * along + down * down)
    return (1 if side[1] >= 0 else -1) if 0.0 <= at <= 1.0 else 0


class _Followed:
    """A thing that is followed."""

    def __init__(self, class_id):
        self.class_id = class_id
        self.waiting: List[tuple] = []  # what was seen of it before it counts
        self.place: Optional[Place] = None
        self.seen = 0.0  # when last
        self.since: Dict[int, float] = {}  # when it entered, by the zone that it is in


class _Tally:
    """Counts by class of one region, and the visits that have ended."""

    def __init__(self):
        self.counts: Dict[str, Dict[int, int]] = collections.defaultdict(lambda: collections.defaultdict(int))
        self.visits, self.seconds, self.longest = 0, 0.0, 0.0

    def add(self, kind, class_id):
        self.counts[kind][class_id] += 1


class RegionCounter:
    """Counts a video's things; call `update` for each frame in turn."""

    def __init__(self, regions: Regions, table: LabelTable):
        """Take the lines and zones, and the classes."""
        self.regions, self._names, self._time = regions, table.names, 0.0
        self._followed: Dict[int, _Followed] = {}
        self._lines, self._zones = ([_Tally() for _ in group] for group in regions)

    def update(self, panoptic: np.ndarray, things: Sequence[Thing], time: float, followed: Collection[int]) -> None:
        """Count the next frame.

        Args:
            panoptic: (H, W) int32 panoptic map.
            things: of this map, from `Tracker.update`.
            time: of the frame in seconds.
            followed: numbers of all things that are still followed, those that are hidden among them.
        """
        self._time = time
        places = feet(panoptic, [thing.value for thing in things])
        inside = [contains(zone.points, places) for zone in self.regions.zones]
        for i, thing in enumerate(things):
            each = self._followed.setdefault(thing.id, _Followed(thing.class_id))
            each.waiting.append((time, tuple(places[i].tolist()), [bool(flags[i]) for flags in inside]))
            if thing.frames >= CONFIRMED:
                for seen in each.waiting:
                    self._step(each, *seen)
                each.waiting.clear()
        for number in [number for number in self._followed if number not in followed]:
            gone = self._followed.pop(number)
            for zone in list(gone.since):
                self._leave(gone, zone, gone.seen)

    def _step(self, each, time, place, inside):
        for i, line in enumerate(self.regions.lines):
            if each.place is None or not line.counts(each.class_id):
                continue
            way = crossing(line.points, each.place, place)
            if way:
                self._lines[i].add("forward" if way > 0 else "backward", each.class_id)
        for i, zone in enumerate(self.regions.zones):
            if inside[i] and i not in each.since and zone.counts(each.class_id):
                each.since[i] = time
                self._zones[i].add("entered", each.class_id)
            elif i in each.since and not inside[i]:
                self._leave(each, i, time)
        each.place, each.seen = place, time

    def _leave(self, each, zone, time):
        tally, seconds = self._zones[zone], time - each.since.pop(zone)
        tally.add("left", each.class_id)
        tally.visits, tally.seconds = tally.visits + 1, tally.seconds + seconds
        tally.longest = max(tally.longest, seconds)

    def lines(self) -> Dict[str, Dict[str, Any]]:
        """Return the crossings so far: name -> {forward, backward} -> class name -> count."""
        ways = ("forward", "backward")
        return {
            line.name: {way: self._by_name(tally.counts[way]) for way in ways}
            for line, tally in zip(self.regions.lines, self._lines)
        }

    def zones(self) -> Dict[str, Dict[str, Any]]:
        """Return for each name of a zone `entered`, `left` and `inside`, class name -> count; `dwell_s` with the
        number of `visits` that have ended, their `total` and `longest` seconds; and the `things` inside, with `id`,
        `class` and `seconds` so far."""
        return {zone.name: self._zone(i) for i, zone in enumerate(self.regions.zones)}

    def _zone(self, i):
        tally = self._zones[i]
        inside = dict.fromkeys(tally.counts["entered"], 0)
        things = []
        for number, each in self._followed.items():
            if i in each.since:
                inside[each.class_id] += 1
                seconds = round(self._time - each.since[i], 3)
                things.append({"id": number, "class": self._names[each.class_id], "seconds": seconds})
        dwell = {"visits": tally.visits, "total": round(tally.seconds, 3), "longest": round(tally.longest, 3)}
        counts = {"entered": tally.counts["entered"], "left": tally.counts["left"], "inside": inside}
        return dict({key: self._by_name(value) for key, value in counts.items()}, dwell_s=dwell, things=things)

    def _by_name(self, counts):
        return {self._names[class_id]: counts[class_id] for class_id in sorted(counts)}
