"""Scalars and images for TensorBoard, read with its own reader."""

import json

import cv2
import numpy as np
import tiny


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    return {tag: {event.step: event.tensor_proto for event in events.Tensors(tag)} for tag in tags}


def numbers(events):
    from tensorboard.util.tensor_util import make_ndarray

    return {step: float(make_ndarray(proto)) for step, proto in events.items()}


def decoded(proto):
    """(H, W, 3): an image summary holds width, height, then a PNG for each image."""
    width, height, png = proto.string_val
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (int(height), int(width), 3)
    return image[..., ::-1]


def metrics(run, key):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def test_loss_and_learning_rate_of_every_logged_step():
    run = tiny.trained_run()
    events = read(run / "logs" / "train")
    assert sorted(events) == ["learning_rate", "loss"]
    for tag in events:
        written, shown = metrics(run, tag), numbers(events[tag])
        assert list(shown) == list(range(1, 31)) == list(written)
        assert np.allclose(list(shown.values()), list(written.values()), rtol=1e-6)
    rates = numbers(events["learning_rate"])
    assert rates[30] == 0 and rates[1] > rates[15] > rates[29] > 0  # cosine


def test_scores_of_every_validation():
    run = tiny.trained_run()
    events, reports = read(run / "logs" / "val"), metrics(run, "val")
    assert {"miou", "pixel_accuracy", "iou/road", "iou/tree", "iou/sky"} <= set(events)
    for tag in ("miou", "pixel_accuracy"):
        assert np.allclose(list(numbers(events[tag]).values()), [report[tag] for report in reports.values()], rtol=1e-6)
    for name in ("road", "tree", "sky"):
        assert np.allclose(
            list(numbers(events[f"iou/{name}"]).values()),
            [report["iou"][name] for report in reports.values()],
            rtol=1e-6,
        )
    assert list(numbers(events["miou"])) == [10, 20, 30]


def test_panels_show_image_truth_and_prediction():
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.data import open_split

    run = tiny.trained_run()
    events = read(run / "logs" / "val")
    panels = [tag for tag in events if tag.startswith("panel/")]
    assert sorted(panels) == ["panel/0", "panel/1", "panel/2"]
    split = open_split(load(run / "config.yaml").data, "val")
    for index, tag in enumerate(sorted(panels)):
        assert list(events[tag]) == [10, 20, 30]
        panel = decoded(events[tag][30])
        top = panel.shape[0] - 64
        places = [
            left
            for left in range(panel.shape[1] - 63)
            if np.array_equal(panel[top:, left : left + 64], split.sample(index).image)
        ]
        assert len(places) == 1, "the image stands in the panel, pixel by pixel"
        assert panel.shape[1] >= 3 * 64
        assert {tuple(color) for color in panel[top + 30, places[0] + 64 :].tolist()} >= set(
            tiny.LABEL_COLORS.values()
        ) & {split.table.labels[i].color for i in set(split.label_map(index)[30].tolist())}


def test_the_confusion_matrix_is_drawn_at_every_validation():
    events = read(tiny.trained_run() / "logs" / "val")["confusion_matrix"]
    assert list(events) == [10, 20, 30]
    assert all(min(decoded(proto).shape[:2]) > 100 for proto in events.values())
