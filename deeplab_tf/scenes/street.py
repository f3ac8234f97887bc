"""The street: what stands and moves where. Every stretch is drawn from (seed, index, stretch), so the street goes on for ever."""

from typing import NamedTuple, Tuple

import numpy as np

from deeplab_tf.scenes import people, surroundings, vehicles
from deeplab_tf.scenes.light import Color, Light, draw_light, sky
from deeplab_tf.scenes.painter import Painter, View, heading

EGO_VEHICLE, OUT_OF_ROI, ROAD, SIDEWALK, PARKING, RAIL_TRACK, SKY = 1, 3, 7, 8, 9, 10, 23
_BLOCK = 48.0  # metres of street that are planned together
_CROSSING = 12.0  # metres at the start of some blocks
_SIGHT = 170.0  # metres
_SPEED = 8.0  # metres a second that the camera moves

_GRASS = ((96, 116, 62), (118, 124, 70), (132, 122, 84), (84, 100, 58), (142, 134, 100), (112, 98, 74))
_LEAVES = ((74, 96, 50), (92, 110, 56), (58, 78, 48), (120, 116, 52), (146, 106, 48), (104, 92, 70))
_ASPHALT = ((96, 96, 98), (78, 78, 82), (118, 116, 114), (134, 130, 124), (104, 98, 96))
_PAVING = ((140, 136, 130), (118, 114, 112), (160, 152, 142), (146, 120, 108), (104, 104, 106))


class Street(NamedTuple):
    """What does not change along one street. Lengths in metres."""

    key: Tuple[int, int]
    light: Light
    view: View
    road: float  # half its width
    lanes: int  # a direction
    pavement: Tuple[float, float]  # width on the left, on the right
    parking: int  # 0 none, 1 on the road, 2 in bays labelled parking
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
    hood: float  # how much of the picture the own bonnet covers
    border: float  # share of the width without picture


def plan(seed: int, index: int, time: float) -> Street:
    """The street of scene `index`, seen after `time` seconds of driving."""
    random = np.random.RandomState([seed & 0xFFFFFFFF, index & 0xFFFFFFFF])
    light = draw_light(random)
    r = random.rand(32)
    lanes = 1 + int(r[0] < 0.4)
    parking = int(r[1] < 0.5) + int(r[1] < 0.2)
    tram = 0.0
    if r[2] < 0.4:
        tram = -1.7 if r[3] < 0.5 else 1.9
    road = (3.4 if lanes == 1 else 6.4) + 1.2 * r[4] + (1.8 if tram else 0.0) + (1.1 if parking == 1 else 0.0)
    lane = road * (0.5 if lanes == 1 else 0.3 if r[5] < 0.5 else 0.72)
    if tram > 0:
        lane = road * 0.72
    view = View(
        focal=0.95 + 0.3 * r[6], center_x=0.5 + 0.2 * (r[7] - 0.5), horizon=0.40 + 0.1 * r[8], height=1.15 + 0.5 * r[9], x=lane + 0.6 * (r[10] - 0.5),
        z=40.0 + _SPEED * time, curve=0.0012 * (r[11] - 0.5) * (r[12] > 0.3), roll=0.03 * (r[13] - 0.5))
    styles = random.rand(5) ** 2 * (1.6, 0.9, 0.7, 0.8, 0.7) + 0.05

    def vary(colors, a, b):
        return tuple(c * (0.8 + 0.4 * b) for c in colors[int(a * len(colors))])
    return Street(
        key=(seed & 0xFFFFFFFF, index & 0xFFFFFFFF), light=light, view=view, road=road, lanes=lanes, pavement=(1.8 + 2.6 * r[14], 1.8 + 2.6 * r[15]),
        parking=parking, tram=tram, tram_bed=r[16] < 0.5, crossing=int(r[17] * 3), traffic=0.15 + 0.45 * r[18], walkers=3.5 * r[19] * r[20] + 0.5,
        riders=0.8 * r[21], trees=(r[22] < 0.45) * (0.3 + 0.6 * r[23]), styles=tuple(styles / styles.sum()), asphalt=vary(_ASPHALT, r[24], r[25]),
        paving=vary(_PAVING, r[26], r[27]), grass=vary(_GRASS, r[28], r[29]), leaves=vary(_LEAVES, r[30], r[31]),
        hood=(0.03 + 0.05 * r[12]) * (r[11] < 0.35), border=0.012 * (r[13] < 0.15))


class Stage:
    """Everything that stands or moves, collected with its depth, then painted from far to near."""

    def __init__(self, street: Street, painter: Painter):
        self.street, self.painter = street, painter
        self.near, self.far = street.view.z, street.view.z + _SIGHT
        self.things = []

    def random(self, *place: int) -> np.random.RandomState:
        """The random numbers of one stretch."""
        return np.random.RandomState(list(self.street.key) + [number & 0xFFFFFFFF for number in place])

    def put(self, depth: float, draw, *arguments) -> None:
        self.things.append((-depth, len(self.things), draw, arguments))

    def object(self, z: float, front: float, draw) -> None:
        """A thing that stands in front of the camera, `front` metres deep towards it."""
        if self.near + 2.5 < z - front and z < self.far - 30:
            self.put(z - front, draw)

    def paint(self) -> None:
        for _, _, draw, arguments in sorted(self.things, key=lambda thing: thing[:2]):
            draw(*arguments)


def _side(street: Street, side: float) -> Tuple[float, float]:
    """Where the pavement ends at the kerb and at its back, as distances from the middle of the road."""
    kerb = street.road + (2.2 if street.parking == 2 else 0.0)
    return kerb, kerb + street.pavement[side > 0]


def _blocks(street: Street):
    first = int(street.view.z // _BLOCK)
    return range(first, first + int(_SIGHT // _BLOCK) + 2)


def _has_crossing(street: Street, block: int) -> bool:
    return block % 3 == street.crossing


def _style(stage: Stage, side: float, block: int) -> int:
    """0 city, 1 park, 2 wall, 3 fence, 4 garden."""
    return int(stage.random(1, block, int(side > 0)).choice(5, p=stage.street.styles))


def _strip(painter: Painter, x1: float, x2: float, z1: float, z2: float, color, code, grain: int = 10, shade: float = 1.0, y: float = 0.0) -> None:
    """A band of ground along the street, bent with it."""
    start = max(z1, painter.view.z + 1.2)
    if start >= z2:
        return
    steps = [start]
    while steps[-1] < z2:
        steps.append(min(z2, steps[-1] + max(4.0, 0.5 * (steps[-1] - painter.view.z))))
    for near, far in zip(steps, steps[1:]):
        painter.solid([(x1, y, near), (x1, y, far), (x2, y, far), (x2, y, near)], color, code, grain, shade)


def paint_background(street: Street, painter: Painter, random: np.random.RandomState) -> None:
    """Sky, what stands at the horizon, and bare ground."""
    horizon = int(street.view.horizon * painter.height)
    slack = int(abs(street.view.roll) * painter.width / 2) + 2
    painter.canvas[:horizon + slack, :, :3] = sky(street.light, (painter.height, painter.width), horizon + slack, random)
    painter.canvas[:horizon + slack, :, 3] = 1
    painter.codes[:horizon + slack] = SKY
    z = painter.view.z + 230.0
    for i in range(26):
        r = random.rand(12)
        x, wide, high = -150 + 12 * i + 10 * r[0], 5 + 10 * r[1], 4 + 14 * r[2] * r[3]
        if r[4] < 0.5:
            color = surroundings.FACADES[int(r[5] * len(surroundings.FACADES))]
            painter.solid([(x - wide, -4, z), (x - wide, high, z), (x, high + 3 * (r[6] < 0.3), z), (x + wide, high, z), (x + wide, -4, z)], color, 11, 12)
        else:
            top = [(x - wide + wide * k / 3.0, high * (0.35 + 0.3 * r[5 + k]), z) for k in range(7)]
            painter.solid([(x - wide, -4, z)] + top + [(x + wide, -4, z)], street.leaves, 21, 40)
    tone = painter.tone(street.grass, painter.view.z + 150)
    left, right = (int(horizon - sign * street.view.roll * painter.width / 2) for sign in (1, -1))
    painter.fill([np.array([(0, left + 2), (painter.width, right + 2), (painter.width, painter.height), (0, painter.height)], np.int32)], tone, 22, 24)


def _paint_verges(stage: Stage) -> None:
    """The ground behind the pavement: grass, or more paving up to the houses; grass in tufts of two shades."""
    street, painter = stage.street, stage.painter
    for side in (-1.0, 1.0):
        _, back = _side(street, side)
        for block in _blocks(street):
            z1, z2 = block * _BLOCK, (block + 1) * _BLOCK
            if _style(stage, side, block) == 0:
                _strip(painter, side * (back - 0.1), side * (back + 40), z1, z2, street.paving, SIDEWALK, 12, 0.95)
                continue
            _strip(painter, side * (back - 0.1), side * (back + 60), z1, z2, street.grass, surroundings.TERRAIN, 34)
            for r in stage.random(2, block, int(side > 0)).rand(14, 4):
                x, z, size = side * (back + 0.4 + 14 * r[0]), z1 + r[1] * _BLOCK, 0.6 + 1.6 * r[2]
                if z > painter.view.z + 3:
                    painter.solid([(x - size, 0, z), (x, 0, z + size * 1.4), (x + size, 0, z + 0.4), (x, 0, z - size)], street.grass, None, 40, 0.82 + 0.36 * r[3])


def _paint_marks(stage: Stage, block: int) -> None:
    """Lines, zebra crossings, patches and covers on the road."""
    street, painter = stage.street, stage.painter
    white, z1 = (206, 204, 196), block * _BLOCK
    random = stage.random(3, block)
    for r in random.rand(5, 4):
        x, z, size = (r[0] * 2 - 1) * (street.road - 1.5), z1 + r[1] * _BLOCK, 0.5 + 1.2 * r[2]
        if z > painter.view.z + 2.5:
            _strip(painter, x - size, x + size, z, z + size * 2.5, street.asphalt, None, 16, 0.8 + 0.34 * r[3])
    for x in [0.0] + ([-street.road / 2, street.road / 2] if street.lanes == 2 else []):
        if street.tram and x == 0.0:
            continue
        for k in range(8):
            z = z1 + k * 6.0 + 14.0 * _has_crossing(street, block)
            if z < z1 + _BLOCK - 3:
                _strip(painter, x - 0.08, x + 0.08, z, z + 3.0, white, None, 12)
    if street.tram:
        for x in (street.tram - 0.72, street.tram + 0.72):
            _strip(painter, x - 0.07, x + 0.07, z1, z1 + _BLOCK, (70, 68, 68), None, 6)
    if _has_crossing(street, block):
        for z in (z1 - 4.0, z1 + _CROSSING + 1.0):
            for k in range(int(street.road * 2 / 1.1)):
                x = -street.road + 0.4 + 1.1 * k
                _strip(painter, x, x + 0.55, z, z + 3.0, white, None, 14)


def paint_ground(stage: Stage) -> None:
    """Road, pavements with kerbs and slabs, parking bays, tracks, side streets, and the shadows of houses and trees."""
    street, painter = stage.street, stage.painter
    z1, z2 = painter.view.z, painter.view.z + 260.0
    _paint_verges(stage)
    for side in (-1.0, 1.0):
        kerb, back = _side(street, side)
        _strip(painter, side * kerb, side * back, z1, z2, street.paving, SIDEWALK, 12)
        for k in range(1, 4):
            x = side * (kerb + (back - kerb) * k / 4)
            _strip(painter, x - 0.02, x + 0.02, z1, z1 + 25, street.paving, None, 10, 0.82)
        for k in range(int(z1), int(z1) + 26, 2):
            _strip(painter, side * kerb, side * back, k, k + 0.05, street.paving, None, 10, 0.84)
        if street.parking == 2:
            _strip(painter, side * (street.road - 0.1), side * kerb, z1, z2, street.paving, PARKING, 14, 0.85)
        _strip(painter, side * (kerb - 0.02), side * (kerb + 0.2), z1, z2, street.paving, SIDEWALK, 8, 1.14)
    _strip(painter, -street.road, street.road, z1, z2, street.asphalt, ROAD, 14)
    for x in (0.45, 0.95, 1.25):
        _strip(painter, street.road * 0.4 * x - 0.3, street.road * 0.4 * x + 0.3, z1, z2, street.asphalt, None, 12, 0.94)
    if street.tram and street.tram_bed:
        _strip(painter, street.tram - 1.3, street.tram + 1.3, z1, z2, street.grass if street.walkers < 1 else (120, 108, 96), RAIL_TRACK, 34)
    for block in _blocks(street):
        if _has_crossing(street, block):
            start = block * _BLOCK
            painter.solid([(-90, 0, max(start, z1 + 1.2)), (90, 0, max(start, z1 + 1.2)), (90, 0, max(start + _CROSSING - 2, z1 + 1.2)),
                           (-90, 0, max(start + _CROSSING - 2, z1 + 1.2))], street.asphalt, ROAD, 14)
        _paint_marks(stage, block)
    if street.light.shadow < 0.7:
        lean = -1.0 if street.light.sun_x > 0 else 1.0
        back = _side(street, -lean)[1]
        reach = (2.0 + 10.0 * abs(street.light.sun_x))
        for block in _blocks(street):
            if _style(stage, -lean, block) == 0:
                near = max(block * _BLOCK + (_CROSSING if _has_crossing(street, block) else 0), z1 + 1.2)
                if near < (block + 1) * _BLOCK:
                    far, a, b = (block + 1) * _BLOCK, -lean * back, -lean * back + lean * reach
                    painter.darken([(a, 0, near), (b, 0, near + 2), (b, 0, far), (a, 0, far)], street.light.shadow)


def place_sides(stage: Stage) -> None:
    """Along both sides, block by block: houses, parks, walls, fences and gardens; kerb trees, poles, signs, bins."""
    for side in (-1.0, 1.0):
        for block in _blocks(stage.street):
            start = block * _BLOCK + (_CROSSING if _has_crossing(stage.street, block) else 0.0)
            _place_backs(stage, side, block, start)
            _place_kerb(stage, side, block, start)


def _houses(stage: Stage, side: float, x: float, start: float, end: float, random: np.random.RandomState, gaps: float) -> None:
    z = start
    while z < end - 5:
        length = min(7 + 13 * random.rand(), end - z)
        own = np.random.RandomState(random.randint(0, 2 ** 31 - 1))
        skip, setback = random.rand(2)
        if skip >= gaps:
            stage.put(z + length, surroundings.building, stage.painter, side, x + 0.8 * setback, z, z + length, own)
        z += length + (3.0 * random.rand() if skip < gaps * 3 else 0.0)


def _greens(stage: Stage, side: float, x: float, depth: float, start: float, end: float, random: np.random.RandomState, count: int) -> None:
    for _ in range(count):
        r, blobs = random.rand(10), random.rand(18, 13)
        z, at = start + r[0] * (end - start), side * (x + r[1] * depth)
        color = tuple(c * (0.82 + 0.36 * r[2]) for c in stage.street.leaves)
        if r[3] < 0.6:
            stage.object(z, 0.0, lambda z=z, at=at, c=color, r=r, b=blobs: surroundings.tree(stage.painter, at, z, c, r[4:], b))
        else:
            stage.object(z, 0.0, lambda z=z, at=at, c=color, r=r, b=blobs: surroundings.bush(stage.painter, at, z, c, 0.6 + 1.4 * r[4], b))


def _place_backs(stage: Stage, side: float, block: int, start: float) -> None:
    street, painter, end = stage.street, stage.painter, (block + 1) * _BLOCK
    random, style = stage.random(4, block, int(side > 0)), _style(stage, side, block)
    x = _side(street, side)[1]
    r = random.rand(16)
    if style == 0:
        _houses(stage, side, x, start, end, random, 0.06)
        return
    if r[12] < 0.75:
        _houses(stage, side, x + 9 + 10 * r[13], start, end, random, 0.2 if style == 4 else 0.45)
    _greens(stage, side, x + 1.5, 12.0, start, end, random, (0, 12, 6, 6, 5)[style])
    if style == 2:
        stage.put(end, surroundings.wall, painter, side, x, start, end, r)
    elif style == 3 or (style == 1 and r[14] < 0.4):
        kind = surroundings.GUARD_RAIL if r[15] < 0.1 else surroundings.FENCE
        stage.put(end, surroundings.fence, painter, side, x, start, end, r, kind)
    elif style == 4:
        middle = start + (end - start) * (0.3 + 0.4 * r[11])
        stage.put(end, surroundings.hedge, painter, side, x, middle + 2.5, end, street.leaves, r)
        stage.put(middle, surroundings.hedge if r[10] < 0.5 else surroundings.fence, painter, side, x, start, middle,
                  *((street.leaves, r[::-1]) if r[10] < 0.5 else (r[::-1],)))


def _place_kerb(stage: Stage, side: float, block: int, start: float) -> None:
    street, painter = stage.street, stage.painter
    random = stage.random(5, block, int(side > 0))
    kerb, back = _side(street, side)
    near = side * (kerb + 0.5)
    if _has_crossing(street, block):
        for z in (block * _BLOCK - 1.0, start - 0.2):
            r = random.rand(4)
            if r[3] < 0.75:
                stage.object(z, 0.0, lambda z=z, r=r: surroundings.traffic_light(painter, side, near, z, r))
    for slot in range(6):
        r = random.rand(16)
        z = block * _BLOCK + 8.0 * slot + 5.0 * r[0]
        if z < start:
            continue
        if r[1] < 0.36:
            stage.object(z, 0.0, lambda z=z, r=r: surroundings.lamp_post(painter, side, near, z, r[2:]))
        elif r[1] < 0.62:
            stage.object(z, 0.0, lambda z=z, r=r: surroundings.traffic_sign(painter, near, z, r[2:]))
        elif r[1] < 0.72:
            stage.object(z, 0.0, lambda z=z, r=r: surroundings.clutter(painter, side * (back - 0.7), z, r[2:]))
        blobs = random.rand(16, 13)
        if r[8] < street.trees:
            stage.object(z + 3, 0.0, lambda z=z + 3, r=r, b=blobs: surroundings.tree(painter, near + side * 0.3, z, street.leaves, r[9:], b))
        if r[10] < 0.05:
            stage.object(z, 0.0, lambda z=z, r=r: surroundings.barrier(painter, near - 1.2, near + 1.6, z, r[11:]))


def place_people(stage: Stage, time: float) -> None:
    """Walkers alone and in touching groups, parked cycles in racks, people who cross at the zebra."""
    street, painter = stage.street, stage.painter
    for side in (-1.0, 1.0):
        kerb, back = _side(street, side)
        for block in _blocks(street):
            random = stage.random(6, block, int(side > 0))
            for _ in range(random.poisson(street.walkers * 1.6)):
                r = random.rand(4)
                x, z = side * (kerb + 0.9 + r[0] * (back - kerb - 1.2)), block * _BLOCK + r[1] * _BLOCK + (r[2] - 0.5) * 2.4 * time
                for k in range(1 + int(r[3] * r[3] * 4)):
                    _walker(stage, x + side * 0.42 * k, z + 0.25 * k, random.rand(16), time)
            if _has_crossing(street, block):
                for r in random.rand(3, 3):
                    if r[0] < 0.3 * street.walkers:
                        _walker(stage, (r[1] * 2 - 1) * street.road, block * _BLOCK - 2.5 + r[2], random.rand(16), time)
            rack = random.rand(4)
            if rack[0] < 0.4:
                kind = people.BICYCLE if rack[1] < 0.6 else people.MOTORCYCLE
                z = block * _BLOCK + 14 + 30 * rack[2]
                for k in range(1 + int(rack[3] * 4)):
                    _cycle(stage, side * (kerb + 0.9), z + k * 0.8, side * (0.5 + 0.5 * rack[1]), random.rand(16), kind, False)


def _walker(stage: Stage, x: float, z: float, r: np.ndarray, time: float) -> None:
    painter = stage.painter

    def draw():
        vehicles.shadow(painter, heading(x, z, 0), -0.15, 0.25, 0.3)
        far = z - painter.view.z > 75
        people.person(painter, x, z, r, people.PERSON if far else painter.instance(people.PERSON), time)
    stage.object(z, 0.0, draw)


def _cycle(stage: Stage, x: float, z: float, turn: float, r: np.ndarray, kind: int, ridden: bool) -> None:
    painter = stage.painter

    def draw():
        vehicles.shadow(painter, heading(x, z, 0), -0.4, 0.4, 0.3 + 0.5 * abs(turn))
        code = painter.instance(kind)
        people.cycle(painter, x, z, turn, r, code, painter.instance(people.RIDER) if ridden else 0)
    stage.object(z, 0.0, draw)


def _vehicle(stage: Stage, x: float, z: float, degrees: float, r: np.ndarray, odds=(0.72, 0.84, 0.95)) -> None:
    """A car, truck or bus, or (beyond the odds) a motorcycle."""
    painter = stage.painter
    kind = int(r[0] > odds[0]) + int(r[0] > odds[1]) + int(r[0] > odds[2])
    if kind == 3:
        _cycle(stage, x, z, 0.15 if r[1] < 0.5 else -0.15, r[2:], people.MOTORCYCLE, True)
        return
    half = (2.4, 5.2, 6.0)[kind]
    label, draw_kind = ((vehicles.CAR, vehicles.car), (vehicles.TRUCK, vehicles.truck), (vehicles.BUS, vehicles.bus))[kind]
    frame = heading(x, z, degrees)

    def draw():
        vehicles.shadow(painter, frame, -half * 0.95, half * 0.95, 1.0)
        draw_kind(painter, frame, r[1:], painter.instance(label))
    stage.object(z, half * abs(frame.forward_z) + 0.9 * abs(frame.forward_x), draw)


def _stream(stage: Stage, lane: int, speed: float, time: float, step: float):
    """(z, random numbers) for the slots, `step` metres long, of a lane whose traffic moves at `speed`."""
    shift = speed * time
    first = int((stage.near - shift) // step)
    for slot in range(first, first + int(_SIGHT // step) + 2):
        r = stage.random(7, lane, slot).rand(24)
        yield slot * step + shift + (r[0] - 0.5) * 2.0, r


def place_traffic(stage: Stage, time: float) -> None:
    """Lanes ahead and oncoming, parked rows, cyclists at the kerb, trams, and who turns across at crossings."""
    street = stage.street
    places = (0.5,) if street.lanes == 1 else (0.28, 0.74)
    for direction in (1, -1):
        for number, place in enumerate(places):
            x = direction * street.road * place
            if street.tram and abs(x - street.tram) < 2.8:
                x += direction * 1.2
            own = direction > 0 and abs(x - street.view.x) < 2.2
            for z, r in _stream(stage, 10 * number + direction + 1, (7.5 - number) if direction > 0 else -9.0, time, 13.0):
                if r[1] < street.traffic * (0.8 if own else 1.0) and z - stage.near > (13 if own else 4):
                    _vehicle(stage, x + 0.4 * (r[2] - 0.5), z, (0 if direction > 0 else 180) + 4 * (r[3] - 0.5), r[4:])
        for z, r in _stream(stage, 30 + direction, 4.0 * direction, time, 17.0):
            if r[1] < street.riders * 0.5:
                kind = people.BICYCLE if r[2] < 0.75 else people.MOTORCYCLE
                _cycle(stage, direction * (street.road - 0.7), z, direction * (0.12 + 0.5 * r[3] * r[4]) * (1 if r[5] < 0.7 else -1), r[6:], kind, True)
        if street.parking:
            at = direction * (street.road + (1.05 if street.parking == 2 else -1.05))
            for z, r in _stream(stage, 40 + direction, 0.0, time, 6.2):
                if r[1] < 0.62 and not _in_crossing(street, z):
                    _vehicle(stage, at, z, 0 if direction > 0 else 180, r[4:], (0.95, 0.98, 0.98))
    _place_trams(stage, time)
    for block in _blocks(street):
        r = stage.random(8, block).rand(3, 24)
        if _has_crossing(street, block):
            for k in range(3):
                x = (r[k, 0] - 0.5) * 34 + (5.0 if k % 2 else -5.0) * time
                z = block * _BLOCK + 2.5 + 3.5 * (k % 2)
                if r[k, 1] < 0.3:
                    _vehicle(stage, x, z, 90 if k % 2 else -90, r[k, 4:])
                elif r[k, 1] < 0.6:
                    _cycle(stage, x, z, 1.0 if k % 2 else -1.0, r[k, 4:], people.BICYCLE if r[k, 2] < 0.6 else people.MOTORCYCLE, True)


def _in_crossing(street: Street, z: float) -> bool:
    block = int(z // _BLOCK)
    return (_has_crossing(street, block) and z - block * _BLOCK < _CROSSING + 3) or (_has_crossing(street, block + 1) and (block + 1) * _BLOCK - z < 6)


def _place_trams(stage: Stage, time: float) -> None:
    street, painter = stage.street, stage.painter
    if not street.tram:
        return
    direction = 1 if street.tram > 0 else -1
    for z, r in _stream(stage, 50, 6.0 * direction, time, 62.0):
        if r[1] > 0.8:
            continue
        sections, instance = 2 + int(r[2] * 3), []
        for k in range(sections):
            place = z - direction * 8.0 * k

            def draw(place=place, k=k, r=r, sections=sections, instance=instance):
                if not instance:
                    instance.append(painter.instance(vehicles.TRAIN))
                frame = heading(street.tram, place, 0 if direction > 0 else 180)
                vehicles.shadow(painter, frame, -4.0, 4.0, 1.4)
                vehicles.tram(painter, frame, r[4:], instance[0], k == 0, k == sections - 1)
            if stage.near + 5 < place < stage.far:
                stage.put(place - 3.95, draw)


def paint_camera(street: Street, painter: Painter) -> None:
    """What belongs to the camera: the own bonnet at the lower edge, and columns without a picture."""
    height, width = painter.height, painter.width
    if street.hood:
        top = int(height * (1 - street.hood))
        arc = [(int(width * k / 16), top + int(height * street.hood * 0.6 * ((k - 8) / 8.0) ** 2)) for k in range(17)]
        painter.fill([np.array([(0, height)] + arc + [(width, height)], np.int32)], (52, 54, 60), EGO_VEHICLE, 4)
        inner = [(x, y + int(height * 0.012)) for x, y in arc]
        painter.fill([np.array([(0, height)] + inner + [(width, height)], np.int32)], (38, 40, 44), EGO_VEHICLE, 4)
    if street.border:
        edge = int(width * street.border)
        for left in (0, width - edge):
            painter.fill([np.array([(left, 0), (left + edge, 0), (left + edge, height), (left, height)], np.int32)], (0, 0, 0), OUT_OF_ROI, 0)
