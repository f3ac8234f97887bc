"""The things of one source, followed from frame to frame: their numbers, what is counted, and how it is drawn."""

from typing import Any, Dict, List, Optional

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.tracking import Thing, Tracker
from deeplab_tf.core.panoptic.zones import RegionCounter, Regions
from deeplab_tf.deploy.video.thing_marker import ThingMarker
from deeplab_tf.deploy.video.zone_marker import ZoneMarker


class Follower:
    """Follows the things of one source; call `update` and `draw` for each frame in turn.

    Attributes:
        lines, zones: the counts of `RegionCounter` up to the latest frame; None without regions.
    """

    def __init__(self, table: LabelTable, *, trails: bool = False, regions: Optional[Regions] = None):
        """Take the classes, whether trails are drawn, and the lines and zones in which things are counted."""
        self._tracker, self._marker = Tracker(table), ThingMarker(trails=trails)
        self._counter = None if regions is None else RegionCounter(regions, table)
        self._zone_marker = None if regions is None else ZoneMarker(regions)
        self._count()

    def _count(self):
        self.lines = None if self._counter is None else self._counter.lines()
        self.zones = None if self._counter is None else self._counter.zones()

    def counts(self) -> Dict[str, Any]:
        """Return `lines` and `zones` for a report; nothing without regions."""
        return {} if self._counter is None else {"lines": self.lines, "zones": self.zones}

    @property
    def distinct(self) -> List[int]:
        """How many different things of each class were seen so far, by class id."""
        return self._tracker.distinct

    def update(self, panoptic: np.ndarray, time: float) -> List[Thing]:
        """Return the things of an (H, W) int32 panoptic map at a time in seconds."""
        things = self._tracker.update(panoptic, time)
        if self._counter is not None:
            self._counter.update(panoptic, things, time, self._tracker.followed)
            self._count()
        return things

    def draw(self, view: np.ndarray, panoptic: np.ndarray, things: List[Thing]) -> None:
        """Draw the things of the latest frame into an (H, W, 3) uint8 RGB image."""
        self._marker.draw(view, panoptic, things)
        if self._zone_marker is not None:
            self._zone_marker.draw(view, self.lines or {}, self.zones or {})
