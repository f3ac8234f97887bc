"""Everyone on the street at a given time: pedestrians, cycles, cars, trucks, buses and trams."""

from typing import Iterator, List, Tuple

import numpy as np

from deeplab_tf.synth import people, vehicles
from deeplab_tf.synth.body import shadow
from deeplab_tf.synth.shapes import heading
from deeplab_tf.synth.street import BLOCK, SIGHT, SPEED, Scenery, blocks, edges, has_crossing, in_crossing


def place_people(scenery: Scenery, time: float) -> None:
    """Add pedestrians alone and in touching groups, people on crossings, and parked cycles."""
    street = scenery.street
    for side in (-1.0, 1.0):
        kerb, back = edges(street, side)
        for block in blocks(street):
            random, start = scenery.random(6, block, int(side > 0)), block * BLOCK
            for _ in range(random.poisson(street.walkers * 1.6)):
                r = random.rand(4)
                x, z = (
                    side * (kerb + 0.9 + r[0] * (back - kerb - 1.2)),
                    start + r[1] * BLOCK + (r[2] - 0.5) * 2.4 * time,
                )
                for k in range(1 + int(r[3] * r[3] * 4)):
                    _place_walker(scenery, x + side * 0.42 * k, z + 0.25 * k, random.rand(16), time)
            if has_crossing(street, block):
                for r in random.rand(3, 3):
                    if r[0] < 0.22 * street.walkers:
                        x = (r[1] * 2 - 1) * street.road
                        _place_walker(scenery, x, start - 2.5 + r[2], random.rand(16), time)
            rack = random.rand(4)
            if rack[0] < 0.65:
                kind = _cycle_kind(rack[1])
                x, z, turn = side * (kerb + 0.9), start + 14 + 30 * rack[2], side * (0.5 + 0.5 * rack[1])
                for k in range(1 + int(rack[3] * 5)):
                    _place_cycle(scenery, x, z + k * 0.8, turn, random.rand(16), kind, ridden=False)


def _place_walker(scenery: Scenery, x: float, z: float, r: np.ndarray, time: float) -> None:
    painter = scenery.painter

    def draw():
        shadow(painter, heading(x, z, 0), -0.15, 0.25, 0.3)
        far = z - painter.camera.z > 75
        people.person(painter, x, z, r, people.PERSON if far else painter.instance(people.PERSON, r), time)

    scenery.put_ahead(z, 0.0, draw)


def _cycle_kind(number: float) -> int:
    return people.BICYCLE if number < 0.6 else people.MOTORCYCLE


def _place_cycle(
    scenery: Scenery, x: float, z: float, turn: float, r: np.ndarray, kind: int, *, ridden: bool = True
) -> None:
    painter = scenery.painter

    def draw():
        shadow(painter, heading(x, z, 0), -0.4, 0.4, 0.3 + 0.5 * abs(turn))
        code = painter.instance(kind, r)
        people.cycle(painter, x, z, turn, r, code, painter.instance(people.RIDER, r) if ridden else 0)

    scenery.put_ahead(z, 0.0, draw)


def place_traffic(scenery: Scenery, time: float) -> None:
    """Add lanes ahead and oncoming, parked rows, cyclists at the kerb, trams, and vehicles that cross."""
    for direction in (1, -1):
        _place_lanes(scenery, direction, time)
        _place_cyclists(scenery, direction, time)
        _place_parked(scenery, direction, time)
    _place_trams(scenery, time)
    for block in blocks(scenery.street):
        if has_crossing(scenery.street, block):
            _place_crossing(scenery, block, time)


def _place_lanes(scenery: Scenery, direction: int, time: float) -> None:
    street = scenery.street
    for number, place in enumerate((0.5,) if street.lanes == 1 else (0.28, 0.74)):
        x = direction * street.road * place
        if street.tram and abs(x - street.tram) < 2.8:
            x += direction * 1.2
        own = direction > 0 and abs(x - street.camera.x) < 2.2
        speed = SPEED - number if direction > 0 else -9.0
        for z, r in _slots(scenery, 10 * number + direction + 1, speed, time, 13.0):
            if r[1] < street.traffic * (0.8 if own else 1.0) and z - scenery.near > (14 if own else 9):
                degrees = (0 if direction > 0 else 180) + 4 * (r[3] - 0.5)
                _place_vehicle(scenery, x + 0.4 * (r[2] - 0.5), z, degrees, r[4:])


def _place_cyclists(scenery: Scenery, direction: int, time: float) -> None:
    street = scenery.street
    for z, r in _slots(scenery, 30 + direction, 4.0 * direction, time, 17.0):
        if r[1] < street.riders * 0.6:
            turn = direction * (0.12 + 0.75 * r[3] * r[4]) * (1 if r[5] < 0.7 else -1)
            _place_cycle(scenery, direction * (street.road - 0.7), z, turn, r[6:], _cycle_kind(r[2]))


def _place_parked(scenery: Scenery, direction: int, time: float) -> None:
    street = scenery.street
    if street.parking:
        x = direction * (street.road + (1.05 if street.parking == 2 else -1.05))
        for z, r in _slots(scenery, 40 + direction, 0.0, time, 6.2):
            if r[1] < 0.62 and not in_crossing(street, z):
                _place_vehicle(scenery, x, z, 0 if direction > 0 else 180, r[4:], (0.95, 0.98, 0.98))


def _place_crossing(scenery: Scenery, block: int, time: float) -> None:
    """Add vehicles and cycles in the side street."""
    for k, r in enumerate(scenery.random(8, block).rand(3, 24)):
        right = k % 2
        x = (r[0] - 0.5) * 34 + (5.0 if right else -5.0) * time
        z = block * BLOCK + 2.5 + 3.5 * right
        if r[1] < 0.3:
            _place_vehicle(scenery, x, z, 90 if right else -90, r[4:])
        elif r[1] < 0.6:
            _place_cycle(scenery, x, z, 1.0 if right else -1.0, r[4:], _cycle_kind(r[2]))


def _place_vehicle(
    scenery: Scenery, x: float, z: float, degrees: float, r: np.ndarray, odds: Tuple[float, ...] = (0.72, 0.84, 0.95)
) -> None:
    """Add a car, truck or bus, or (beyond the odds) a motorcycle."""
    painter = scenery.painter
    kind = sum(int(r[0] > limit) for limit in odds)
    if kind == 3:
        _place_cycle(scenery, x, z, 0.15 if r[1] < 0.5 else -0.15, r[2:], people.MOTORCYCLE)
        return
    label, draw_kind, half = (
        (vehicles.CAR, vehicles.car, 2.4),
        (vehicles.TRUCK, vehicles.truck, 5.2),
        (vehicles.BUS, vehicles.bus, 6.0),
    )[kind]
    pose = heading(x, z, degrees)

    def draw():
        shadow(painter, pose, -half * 0.95, half * 0.95, 1.0)
        draw_kind(painter, pose, r[1:], painter.instance(label, r))

    scenery.put_ahead(z, half * abs(pose.forward_z) + 0.9 * abs(pose.forward_x), draw)


def _slots(scenery: Scenery, lane: int, speed: float, time: float, step: float) -> Iterator[Tuple[float, np.ndarray]]:
    """Yield (z, random numbers) of the slots, `step` metres long, of a lane whose traffic moves at `speed`."""
    shift = speed * time
    first = int((scenery.near - shift) // step)
    for slot in range(first, first + int(SIGHT // step) + 2):
        r = scenery.random(7, lane, slot).rand(24)
        yield slot * step + shift + (r[0] - 0.5) * 2.0, r


def _place_trams(scenery: Scenery, time: float) -> None:
    street, painter = scenery.street, scenery.painter
    if not street.tram:
        return
    direction = 1 if street.tram > 0 else -1

    def draw(z, r, k, sections, instance):
        if not instance:
            instance.append(painter.instance(vehicles.TRAIN, r))
        pose = heading(street.tram, z, 0 if direction > 0 else 180)
        shadow(painter, pose, -4.0, 4.0, 1.4)
        vehicles.tram(painter, pose, r[4:], instance[0], k == 0, k == sections - 1)

    for z, r in _slots(scenery, 50, 6.0 * direction, time, 62.0):
        if r[1] > 0.6:
            continue
        sections = 2 + int(r[2] * 3)
        instance: List[int] = []  # of all sections, given when the first is drawn
        for k in range(sections):
            place = z - direction * 8.0 * k
            if scenery.near - 3 < place < scenery.far:
                scenery.put(place - 3.95, draw, place, r, k, sections, instance)
