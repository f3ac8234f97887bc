"""Who is on the street: walkers, cycles, cars, trucks, buses and trams, at a time."""

import numpy as np

from deeplab_tf.synth import people, vehicles
from deeplab_tf.synth.body import shadow
from deeplab_tf.synth.painter import heading
from deeplab_tf.synth.street import BLOCK, SIGHT, SPEED, Stage, blocks, edges, has_crossing, in_crossing


def place_people(stage: Stage, time: float) -> None:
    """Walkers alone and in touching groups, parked cycles in racks, people who cross at the zebra."""
    street = stage.street
    for side in (-1.0, 1.0):
        kerb, back = edges(street, side)
        for block in blocks(street):
            random = stage.random(6, block, int(side > 0))
            for _ in range(random.poisson(street.walkers * 1.6)):
                r = random.rand(4)
                x, z = (
                    side * (kerb + 0.9 + r[0] * (back - kerb - 1.2)),
                    block * BLOCK + r[1] * BLOCK + (r[2] - 0.5) * 2.4 * time,
                )
                for k in range(1 + int(r[3] * r[3] * 4)):
                    _walker(stage, x + side * 0.42 * k, z + 0.25 * k, random.rand(16), time)
            if has_crossing(street, block):
                for r in random.rand(3, 3):
                    if r[0] < 0.22 * street.walkers:
                        _walker(stage, (r[1] * 2 - 1) * street.road, block * BLOCK - 2.5 + r[2], random.rand(16), time)
            rack = random.rand(4)
            if rack[0] < 0.65:
                kind = people.BICYCLE if rack[1] < 0.6 else people.MOTORCYCLE
                z = block * BLOCK + 14 + 30 * rack[2]
                for k in range(1 + int(rack[3] * 5)):
                    _cycle(
                        stage,
                        side * (kerb + 0.9),
                        z + k * 0.8,
                        side * (0.5 + 0.5 * rack[1]),
                        random.rand(16),
                        kind,
                        False,
                    )


def _walker(stage: Stage, x: float, z: float, r: np.ndarray, time: float) -> None:
    painter = stage.painter

    def draw():
        shadow(painter, heading(x, z, 0), -0.15, 0.25, 0.3)
        far = z - painter.view.z > 75
        people.person(painter, x, z, r, people.PERSON if far else painter.instance(people.PERSON), time)

    stage.object(z, 0.0, draw)


def _cycle(stage: Stage, x: float, z: float, turn: float, r: np.ndarray, kind: int, ridden: bool) -> None:
    painter = stage.painter

    def draw():
        shadow(painter, heading(x, z, 0), -0.4, 0.4, 0.3 + 0.5 * abs(turn))
        code = painter.instance(kind)
        people.cycle(painter, x, z, turn, r, code, painter.instance(people.RIDER) if ridden else 0)

    stage.object(z, 0.0, draw)


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
            for z, r in _stream(
                stage, 10 * number + direction + 1, (SPEED - number) if direction > 0 else -9.0, time, 13.0
            ):
                if r[1] < street.traffic * (0.8 if own else 1.0) and z - stage.near > (14 if own else 9):
                    _vehicle(stage, x + 0.4 * (r[2] - 0.5), z, (0 if direction > 0 else 180) + 4 * (r[3] - 0.5), r[4:])
        for z, r in _stream(stage, 30 + direction, 4.0 * direction, time, 17.0):
            if r[1] < street.riders * 0.6:
                kind = people.BICYCLE if r[2] < 0.6 else people.MOTORCYCLE
                _cycle(
                    stage,
                    direction * (street.road - 0.7),
                    z,
                    direction * (0.12 + 0.75 * r[3] * r[4]) * (1 if r[5] < 0.7 else -1),
                    r[6:],
                    kind,
                    True,
                )
        if street.parking:
            at = direction * (street.road + (1.05 if street.parking == 2 else -1.05))
            for z, r in _stream(stage, 40 + direction, 0.0, time, 6.2):
                if r[1] < 0.62 and not in_crossing(street, z):
                    _vehicle(stage, at, z, 0 if direction > 0 else 180, r[4:], (0.95, 0.98, 0.98))
    _place_trams(stage, time)
    for block in blocks(street):
        r = stage.random(8, block).rand(3, 24)
        if has_crossing(street, block):
            for k in range(3):
                x = (r[k, 0] - 0.5) * 34 + (5.0 if k % 2 else -5.0) * time
                z = block * BLOCK + 2.5 + 3.5 * (k % 2)
                if r[k, 1] < 0.3:
                    _vehicle(stage, x, z, 90 if k % 2 else -90, r[k, 4:])
                elif r[k, 1] < 0.6:
                    _cycle(
                        stage,
                        x,
                        z,
                        1.0 if k % 2 else -1.0,
                        r[k, 4:],
                        people.BICYCLE if r[k, 2] < 0.6 else people.MOTORCYCLE,
                        True,
                    )


def _vehicle(stage: Stage, x: float, z: float, degrees: float, r: np.ndarray, odds=(0.72, 0.84, 0.95)) -> None:
    """A car, truck or bus, or (beyond the odds) a motorcycle."""
    painter = stage.painter
    kind = int(r[0] > odds[0]) + int(r[0] > odds[1]) + int(r[0] > odds[2])
    if kind == 3:
        _cycle(stage, x, z, 0.15 if r[1] < 0.5 else -0.15, r[2:], people.MOTORCYCLE, True)
        return
    half = (2.4, 5.2, 6.0)[kind]
    label, draw_kind = ((vehicles.CAR, vehicles.car), (vehicles.TRUCK, vehicles.truck), (vehicles.BUS, vehicles.bus))[
        kind
    ]
    frame = heading(x, z, degrees)

    def draw():
        shadow(painter, frame, -half * 0.95, half * 0.95, 1.0)
        draw_kind(painter, frame, r[1:], painter.instance(label))

    stage.object(z, half * abs(frame.forward_z) + 0.9 * abs(frame.forward_x), draw)


def _stream(stage: Stage, lane: int, speed: float, time: float, step: float):
    """(z, random numbers) for the slots, `step` metres long, of a lane whose traffic moves at `speed`."""
    shift = speed * time
    first = int((stage.near - shift) // step)
    for slot in range(first, first + int(SIGHT // step) + 2):
        r = stage.random(7, lane, slot).rand(24)
        yield slot * step + shift + (r[0] - 0.5) * 2.0, r


def _place_trams(stage: Stage, time: float) -> None:
    street, painter = stage.street, stage.painter
    if not street.tram:
        return
    direction = 1 if street.tram > 0 else -1
    for z, r in _stream(stage, 50, 6.0 * direction, time, 62.0):
        if r[1] > 0.6:
            continue
        sections, instance = 2 + int(r[2] * 3), []
        for k in range(sections):
            place = z - direction * 8.0 * k

            def draw(place=place, k=k, r=r, sections=sections, instance=instance):
                if not instance:
                    instance.append(painter.instance(vehicles.TRAIN))
                frame = heading(street.tram, place, 0 if direction > 0 else 180)
                shadow(painter, frame, -4.0, 4.0, 1.4)
                vehicles.tram(painter, frame, r[4:], instance[0], k == 0, k == sections - 1)

            if stage.near - 3 < place < stage.far:
                stage.put(place - 3.95, draw)
