"""STQ, VPQ, IDF1 and MOTA written from the papers: pixel by pixel, with sets, and as slow as that is; small videos.

A video is a list of frames, (H, W) panoptic maps; a pixel is (frame, row, column).
"""

import itertools
from collections import defaultdict

import numpy as np

from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID

NAMES = ("road", "sky", "car", "person")
TABLE = LabelTable(Label(i, name, (i, i, i), i >= 2) for i, name in enumerate(NAMES))
THINGS = {2, 3}
ROAD, SKY, CARS, CAR_1, CAR_2, CAR_3, PERSON_1 = 0, 1000, 2000, 2001, 2002, 2003, 3001


def random_video(random, frames=5, size=(4, 7)):
    """Boxes that move over road and sky, with groups and pixels without a class; as a prediction of it the same with
    other numbers, which change, other edges and other classes here and there."""
    truth, prediction = [], []
    values = random.choice([CARS, CAR_1, CAR_2, CAR_3, PERSON_1, 3002, VOID], random.randint(2, 6), replace=False)
    places, speeds = random.uniform(0, 4, (len(values), 2)), random.uniform(-1, 1, (len(values), 2))
    other = {value: value for value in [ROAD, SKY, *values]}
    for t in range(frames):
        true, predicted = np.zeros(size, int), np.zeros(size, int)
        true[:1] = predicted[:1] = SKY
        for value in values:
            if random.rand() < 0.4:
                same = [each for each in (CAR_1, CAR_2, CAR_3, PERSON_1, 3002) if each // DIVISOR == value // DIVISOR]
                other[value] = random.choice([value, *same, *same, VOID, ROAD, CARS, 2004, PERSON_1])
        for value, place, speed in zip(values, places, speeds):
            (y, x), (dy, dx) = np.rint(place + t * speed).astype(int), random.randint(-1, 2, 2) * (random.rand() < 0.25)
            true[max(0, y) : y + 3, max(0, x) : x + 4] = value
            predicted[max(0, y + dy) : y + dy + 3, max(0, x + dx) : x + dx + 4] = other[value]
        truth.append(true)
        prediction.append(predicted)
    return truth, prediction


def tubes(frames, wanted):
    """Value -> its pixels in all frames, of the values that `wanted` takes."""
    found = defaultdict(set)
    for t, frame in enumerate(frames):
        for (row, column), value in np.ndenumerate(frame):
            if wanted(int(value)):
                found[int(value)].add((t, row, column))
    return dict(found)


def is_crowd(value, things):
    return value // DIVISOR in things and value % DIVISOR == 0


def is_thing(value, things):
    return value // DIVISOR in things and value % DIVISOR > 0


def step_quality(videos, classes, things):
    """(AQ, SQ) of a list of (truth, prediction)."""
    qualities, hits, unions = [], defaultdict(int), defaultdict(int)
    for truth, prediction in videos:
        crowd = set().union(*tubes(truth, lambda value: is_crowd(value, things)).values())
        true = tubes(truth, lambda value: is_thing(value, things))
        predicted = tubes(prediction, lambda value: value // DIVISOR in things)
        predicted = {value: pixels - crowd for value, pixels in predicted.items()}
        for pixels in true.values():
            total = sum(len(pixels & p) * (len(pixels & p) / len(pixels | p)) for p in predicted.values())
            qualities.append(total / len(pixels))
        for true_frame, frame in zip(truth, prediction):
            for t, p in zip((true_frame // DIVISOR).ravel().tolist(), (frame // DIVISOR).ravel().tolist()):
                if t == VOID // DIVISOR:
                    continue
                hits[t] += t == p
                for class_id in {t, p}:
                    unions[class_id] += 1
    ious = [hits[c] / unions[c] for c in range(classes) if unions[c]]
    return np.mean(qualities) if qualities else float("nan"), np.mean(ious) if ious else float("nan")


def vpq_of_window(videos, classes, things, window):
    """VPQ^k, and the score of each class."""
    found = {c: [0.0, 0, 0, 0] for c in range(classes)}  # IoU, TP, FP, FN
    for truth, prediction in videos:
        for start in range(len(truth) - window + 1):
            span = slice(start, start + window)
            true = tubes(truth[span], lambda value: True)
            predicted = tubes(prediction[span], lambda value: value != VOID)
            void = true.pop(VOID, set())
            crowds = {value: true.pop(value) for value in list(true) if is_crowd(value, things)}
            matched = set()
            for (t, true_pixels), (p, pixels) in itertools.product(true.items(), predicted.items()):
                iou = len(true_pixels & pixels) / len((true_pixels | pixels) - (void - true_pixels))
                if t // DIVISOR == p // DIVISOR and iou > 0.5:
                    found[t // DIVISOR][0] += iou
                    found[t // DIVISOR][1] += 1
                    matched |= {("t", t), ("p", p)}
            for t in true:
                found[t // DIVISOR][3] += ("t", t) not in matched
            for p, pixels in predicted.items():
                excused = len(pixels & (void | crowds.get(p // DIVISOR * DIVISOR, set())))
                if ("p", p) not in matched and excused / len(pixels) <= 0.5:
                    found[p // DIVISOR][2] += 1
    scores = [iou / (tp + fp / 2 + fn / 2) if tp + fp + fn else float("nan") for iou, tp, fp, fn in found.values()]
    return np.mean([score for score in scores if score == score]), scores


def detections(truth, prediction, things, class_id):
    """For each frame (true values, predicted values, {(t, p): IoU}) of a class, without the predictions that count
    nowhere."""
    for true_frame, frame in zip(truth, prediction):
        true = tubes([true_frame], lambda value: is_thing(value, things) and value // DIVISOR == class_id)
        predicted = tubes([frame], lambda value: is_thing(value, things) and value // DIVISOR == class_id)
        ignored = set().union(*tubes([true_frame], lambda v: v in (VOID, class_id * DIVISOR)).values())
        both = itertools.product(true.items(), predicted.items())
        ious = {(t, p): len(a & b) / len(a | b) for (t, a), (p, b) in both}
        partners = {p for (_, p), iou in ious.items() if iou > 0.5}
        kept = [p for p, b in predicted.items() if p in partners or len(b & ignored) / len(b) <= 0.5]
        yield list(true), kept, ious


def mota(videos, things, class_id):
    """(1 - MOTA) * true detections, and the true detections."""
    errors = count = 0
    for truth, prediction in videos:
        last = {}
        for true, predicted, ious in detections(truth, prediction, things, class_id):
            pairs = [(t, p) for (t, p), iou in ious.items() if iou > 0.5]
            count += len(true)
            errors += len(true) + len(predicted) - 2 * len(pairs)
            errors += sum(last.get(t, p) != p for t, p in pairs)
            last.update(pairs)
    return errors, count


def identity(videos, things, class_id):
    """(IDTP, true detections, predicted detections), by trying every assignment."""
    matched = true_count = predicted_count = 0
    for truth, prediction in videos:
        together, left, right = defaultdict(int), set(), set()
        for true, predicted, ious in detections(truth, prediction, things, class_id):
            true_count, predicted_count = true_count + len(true), predicted_count + len(predicted)
            left, right = left | set(true), right | set(predicted)
            for pair, iou in ious.items():
                together[pair] += iou > 0.5
        left, right = sorted(left), sorted(right)
        orders = set(itertools.permutations([*right, *[None] * len(left)], len(left)))  # None: has no partner
        matched += max(sum(together[pair] for pair in zip(left, order)) for order in orders)
    return matched, true_count, predicted_count
