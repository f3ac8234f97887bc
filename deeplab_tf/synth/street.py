"""The plan of a street, and the list of everything beside it and on it.

Every stretch follows from (seed, index, stretch), so a street has no end.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from deeplab_tf.synth.light import Color, Light, draw_light
from deeplab_tf.synth.materials import pick
from deeplab_tf.synth.painter import Camera, Painter
from deeplab_tf.synth.shapes import tinted

BLOCK = 48.0  # metres of street that are planned together
CROSSING = 12.0  # metres at the start of some blocks
SIGHT = 170.0  # metres
SPEED = 8.0  # of the camera, in m/s

_GRASS = ((96, 116, 62), (118, 124, 70), (132, 122, 84), (84, 100, 58), (142, 134, 100), (112, 98, 74))
_LEAVES = ((74, 96, 50), (92, 110, 56), (58, 78, 48), (120, 116, 52), (146, 106, 48), (104, 92, 70))
_ASPHALT = ((96, 96, 98), (78, 78, 82), (118, 116, 114), (134, 130, 124), (104, 98, 96))
_PAVING = ((140, 136, 130), (118, 114, 112), (160, 152, 142), (146, 120, 108), (104, 104, 106))


class Street(NamedTuple):
    """The constants of one street. Lengths in metres."""

    key: Tuple[int, int]
    light: Light
    camera: Camera
    road: float  # half its width
    lanes: int  # per direction
    pavement: Tuple[float, float]  # width on the left, on the right
    verge: bool  # grass between kerb and pavement
    parking: int  # 0 none, 1 on the road, 2 in bays labeled parking
    tram: float  # x of the track, 0 without
    tram_bed: bool  # the track has a bed of its own
    crossing: int  # which of three blocks begins with a crossing
    traffic: float
    walkers: float
    riders: float
    trees: float  # along the kerb
    styles: Tuple[float, ...]  # odds of city, park, wall, fence, garden
    asphalt: Color
    paving: Color
    grass: Color
    leaves: Color
    hood: float  # share of the height that the own bonnet covers
    border: float  # share of the width without image


def plan_street(seed: int, index: int, time: float) -> Street:
    """Return the street of scene `index`, seen after `time` seconds of driving."""
    key = seed & 0xFFFFFFFF, index & 0xFFFFFFFF
    random = np.random.RandomState(list(key))
    light = draw_light(random)
    r = random.rand(40)
    lanes = 1 + int(r[0] < 0.33)
    parking = int(r[1] < 0.5) + int(r[1] < 0.2)
    tram = 0.0
    if r[2] < 0.4:
        tram = -1.7 if r[3] < 0.5 else 1.9
    road = (3.1 if lanes == 1 else 6.0) + 1.2 * r[4] + (1.8 if tram else 0.0) + (1.1 if parking == 1 else 0.0)
    lane = road * (0.5 if lanes == 1 else 0.3 if r[5] < 0.5 else 0.72)
    if tram > 0:
        lane = road * 0.72
    camera = Camera(
        focal=0.95 + 0.3 * r[6],
        center_x=0.5 + 0.2 * (r[7] - 0.5),
        horizon=0.40 + 0.1 * r[8],
        height=1.15 + 0.5 * r[9],
        x=lane + 0.6 * (r[10] - 0.5),
        z=100.0 * r[32] + SPEED * time,
        curve=0.0012 * (r[11] - 0.5) * (r[12] > 0.3),
        roll=0.03 * (r[13] - 0.5),
    )
    styles = random.rand(5) ** 2 * (1.3, 1.0, 1.15, 0.9, 0.8) + 0.06
    return Street(
        key=key,
        light=light,
        camera=camera,
        road=road,
        lanes=lanes,
        pavement=(2.2 + 3.0 * r[14], 2.2 + 3.0 * r[15]),
        verge=r[33] < 0.35,
        parking=parking,
        tram=tram,
        tram_bed=r[16] < 0.5,
        crossing=int(r[17] * 3),
        traffic=0.15 + 0.45 * r[18],
        walkers=5.0 * r[19] * r[20] + 0.5,
        riders=r[21],
        trees=(r[22] < 0.45) * (0.3 + 0.6 * r[23]),
        styles=tuple(styles / styles.sum()),
        asphalt=tinted(pick(_ASPHALT, r[24]), 0.8 + 0.4 * r[25]),
        paving=tinted(pick(_PAVING, r[26]), 0.8 + 0.4 * r[27]),
        grass=tinted(pick(_GRASS, r[28]), 0.8 + 0.4 * r[29]),
        leaves=tinted(pick(_LEAVES, r[30]), 0.8 + 0.4 * r[31]),
        hood=(0.03 + 0.05 * r[12]) * (r[11] < 0.35),
        border=0.012 * (r[13] < 0.15),
    )


class Scenery:
    """All objects of a scene, collected with their depth, then painted from far to near."""

    def __init__(self, street: Street, painter: Painter):
        self.street, self.painter = street, painter
        self.near, self.far = street.camera.z, street.camera.z + SIGHT
        self._objects: List[Tuple[float, int, Callable, Tuple[Any, ...]]] = []
        self._styles: Dict[Tuple[float, int], int] = {}
        self._random = np.random.RandomState(0)

    def random(self, *place: int) -> np.random.RandomState:
        """Return the random numbers of a stretch: always the same object, to be used before the next call."""
        self._random.seed(list(self.street.key) + [number & 0xFFFFFFFF for number in place])
        return self._random

    def put(self, depth: float, draw: Callable, *arguments) -> None:
        """Add an object that `draw(*arguments)` draws."""
        self._objects.append((-depth, len(self._objects), draw, arguments))

    def put_ahead(self, z: float, front: float, draw: Callable, *arguments) -> None:
        """Add an object if it is ahead of the camera; it extends `front` metres towards it."""
        if self.near + 2.5 < z - front and z < self.far - 30:
            self.put(z - front, draw, *arguments)

    def paint(self) -> None:
        """Draw all objects."""
        for _, _, draw, arguments in sorted(self._objects, key=lambda each: each[:2]):
            draw(*arguments)

    def style(self, side: float, block: int) -> int:
        """Return the style of a block: 0 city, 1 park, 2 wall, 3 fence, 4 garden."""
        key = (side, block)
        if key not in self._styles:
            number = self.random(1, block, int(side > 0)).rand()
            self._styles[key] = int(np.searchsorted(np.cumsum(self.street.styles)[:4], number, side="right"))
        return self._styles[key]


def edges(street: Street, side: float) -> Tuple[float, float]:
    """Return where the pavement ends, at the kerb and at its back, as distances from the middle of the road."""
    kerb = street.road + (2.2 if street.parking == 2 else 0.0)
    return kerb, kerb + street.pavement[side > 0]


def blocks(street: Street) -> range:
    """Return the blocks in sight."""
    first = int(street.camera.z // BLOCK)
    return range(first, first + int(SIGHT // BLOCK) + 2)


def has_crossing(street: Street, block: int) -> bool:
    """Return whether a block begins with a crossing."""
    return block % 3 == street.crossing


def in_crossing(street: Street, z: float) -> bool:
    """Return whether a parked vehicle at z would block a crossing."""
    block = int(z // BLOCK)
    return (has_crossing(street, block) and z - block * BLOCK < CROSSING + 3) or (
        has_crossing(street, block + 1) and (block + 1) * BLOCK - z < 6
    )
