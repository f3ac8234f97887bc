"""STQ, VPQ, IDF1 and MOTA: against slow ones written from the papers, against TrackEval, and worked out by hand."""

import itertools
import json
import subprocess
from pathlib import Path

import environments
import numpy as np
import pytest
import slow_video_scores as slow
from slow_video_scores import CAR_1, CAR_2, ROAD, TABLE, THINGS, random_video

from deeplab_tf.core.metrics.video import count_frame
from deeplab_tf.core.metrics.video.assignment import assign, best_total
from deeplab_tf.core.metrics.video.identity import TrackQuality
from deeplab_tf.core.metrics.video.stq import StepQuality
from deeplab_tf.core.metrics.video.vpq import WINDOWS, VideoPanopticQuality
from deeplab_tf.core.panoptic.segments import segment_map


def scored(videos):
    """The three counters after videos, pairs of (truth, prediction)."""
    counters = StepQuality(TABLE), VideoPanopticQuality(TABLE), TrackQuality(TABLE)
    for truth, prediction in videos:
        for true, predicted in zip(truth, prediction):
            maps = (segment_map(np.asarray(each, np.int32), TABLE) for each in (true, predicted))
            frame = count_frame(*maps, len(TABLE))
            for counter in counters:
                counter.update(frame)
        for counter in counters:
            counter.end_sequence()
    return counters


VIDEOS = [random_video(np.random.RandomState(seed)) for seed in range(100)]


def equal(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("videos", [*([video] for video in VIDEOS), VIDEOS[:5]], ids=[*range(100), "five at once"])
def test_all_scores_equal_slow_ones(videos):
    step, panoptic, tracks = scored(videos)
    aq, sq = slow.step_quality(videos, len(TABLE), THINGS)
    equal([step.aq(), step.sq(), step.stq()], [aq, sq, np.sqrt(aq * sq)])
    of_windows, per_class = zip(*(slow.vpq_of_window(videos, len(TABLE), THINGS, k) for k in WINDOWS))
    equal(panoptic.of_windows(), of_windows)
    equal(panoptic.per_class(), np.mean(per_class, axis=0))
    errors, true = zip(*(slow.mota(videos, THINGS, c) for c in (2, 3)))
    equal(tracks.mota_per_class()[2:], [1 - e / n if n else np.nan for e, n in zip(errors, true)])
    equal(tracks.mota(), 1 - sum(errors) / sum(true) if sum(true) else np.nan)
    found = np.array([slow.identity(videos, THINGS, c) for c in (2, 3)])
    with np.errstate(invalid="ignore"):
        equal(tracks.idf1_per_class()[2:], 2 * found[:, 0] / found[:, 1:].sum(axis=1))
        equal(tracks.idf1(), 2 * found[:, 0].sum() / found[:, 1:].sum())


def test_the_random_videos_have_everything():
    """Else the comparison above says little."""
    step, panoptic, tracks = scored(VIDEOS)
    counts = tracks.counts
    assert counts.switches.sum() > 50 and (counts.true - counts.matched).sum() > 100
    assert (counts.predicted - counts.matched).sum() > 100 and (counts.matched - counts.identity).sum() > 20
    assert 0.2 < step.aq() < 0.8 and all(0.2 < score < 0.8 for score in panoptic.of_windows())


def test_idf1_and_mota_equal_trackeval():
    python = environments.trackeval()
    sequences, ours = [], []
    for truth, prediction in VIDEOS:
        (_, _, tracks) = scored([(truth, prediction)])
        for c in (2, 3):
            frames = list(slow.detections(truth, prediction, THINGS, c))
            left = sorted({t for true, _, _ in frames for t in true})
            right = sorted({p for _, predicted, _ in frames for p in predicted})
            sequences.append([])
            for true, kept, ious in frames:
                similar = [[ious[t, p] for p in kept] for t in true]
                sequences[-1].append(([left.index(t) for t in true], [right.index(p) for p in kept], similar))
            ours.append({name: int(getattr(tracks.counts, name)[c]) for name in tracks.counts._fields})
    script = Path(__file__).with_name("trackeval_script.py")
    asked = json.dumps(sequences).encode()
    done = subprocess.run([python, str(script)], input=asked, stdout=subprocess.PIPE, timeout=120, check=True)
    for counts, theirs in zip(ours, json.loads(done.stdout)):
        assert counts["matched"] == theirs["CLR_TP"] and counts["switches"] == theirs["IDSW"]
        assert counts["true"] == theirs["CLR_TP"] + theirs["CLR_FN"] == theirs["IDTP"] + theirs["IDFN"]
        assert counts["predicted"] == theirs["CLR_TP"] + theirs["CLR_FP"] == theirs["IDTP"] + theirs["IDFP"]
        assert counts["identity"] == theirs["IDTP"]


def test_worked_by_hand():
    """Four frames of one row: a car of 4 pixels beside 4 of road. The prediction is right, but the car has number 2 in
    the last frame."""
    truth = [[[CAR_1] * 4 + [ROAD] * 4]] * 4
    prediction = [[[CAR_1] * 4 + [ROAD] * 4]] * 3 + [[[CAR_2] * 4 + [ROAD] * 4]]
    step, panoptic, tracks = scored([(truth, prediction)])
    assert step.aq() == pytest.approx((12 * 12 / 16 + 4 * 4 / 16) / 16) and step.sq() == 1
    # k = 1: all match. k = 2: two windows whole; in the third, half of the car: 2 matches, 1 miss, 2 false. k = 3: one
    # window whole; in the other 8 of 12 pixels. k = 4: 12 of 16 pixels, and the 4 of number 2 are false
    cars = [1, 2 / 3.5, (1 + 2 / 3) / 2.5, 0.75 / 1.5]
    assert panoptic.of_windows() == pytest.approx([(1 + car) / 2 for car in cars])
    assert panoptic.vpq() == pytest.approx(np.mean([(1 + car) / 2 for car in cars]))
    assert tracks.idf1() == pytest.approx(2 * 3 / 8) and tracks.mota() == pytest.approx(1 - 1 / 4)
    assert np.isnan(tracks.mota_per_class()[[0, 1, 3]]).all() and tracks.counts.true_things.tolist() == [0, 0, 1, 0]


def test_sequences_are_apart():
    """The same number in two sequences is two things."""
    one, two = [[[CAR_1] * 4]] * 2, [[[CAR_2] * 4]] * 2
    step, panoptic, tracks = scored([(one, one), (one, two)])
    assert step.aq() == tracks.idf1() == tracks.mota() == 1 and tracks.counts.true_things[2] == 2
    assert panoptic.of_windows()[:2] == [1, 1] and np.isnan(panoptic.of_windows()[2]) and np.isnan(panoptic.vpq())


def test_scores_without_things_are_undefined():
    step, panoptic, tracks = scored([([[[ROAD] * 4]] * 4, [[[ROAD] * 3 + [CAR_1]]] * 4)])
    assert np.isnan([step.aq(), step.stq(), tracks.mota()]).all() and tracks.idf1() == 0
    assert step.sq() == pytest.approx(0.75 / 2) and panoptic.vpq() == pytest.approx(0.75 / 2)


def test_the_assignment_is_the_best():
    random = np.random.RandomState(0)
    for shape in [(1, 1), (3, 3), (2, 5), (5, 3), (4, 4)] * 20:
        weights = random.randint(0, 9, shape)
        small = weights if shape[0] <= shape[1] else weights.T
        best = max(
            sum(small[i, j] for i, j in enumerate(order))
            for order in itertools.permutations(range(small.shape[1]), small.shape[0])
        )
        pairs = assign(weights)
        assert len(pairs) == min(shape) and all(len(set(side)) == len(pairs) for side in zip(*pairs))
        assert sum(weights[i, j] for i, j in pairs) == best == best_total(*np.nonzero(weights), weights[weights > 0])


def test_a_large_assignment_is_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    weights = np.random.RandomState(1).randint(0, 100, (60, 80))
    rows, columns = optimize.linear_sum_assignment(weights, maximize=True)
    assert sum(weights[i, j] for i, j in assign(weights)) == weights[rows, columns].sum()
