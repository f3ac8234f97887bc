"""The child process of `compare`: load one runtime at one precision, run the frames, write the measurements.

    python -m deeplab_tf.deploy.compare.worker JOB.json

JOB.json holds `bundle`, `runtime`, `precision`, `frames` (a .npy file), `seconds`, `sizes` (see `measure`), and `out`,
a folder for result.json, labels.npy and, if there are such, panoptic.npy and scored.npz; and `parent`, the process with
which this one ends: an engine that it builds must not come into a bundle that is no longer locked.
"""

import json
import os
import sys
import threading
import time
from typing import Any, List, Mapping, Optional, Sequence

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_json
from deeplab_tf.core.metrics import none_if_nan
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.latency import is_stable
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.prediction import ImagePrediction, predict
from deeplab_tf.core.predictor import as_prediction
from deeplab_tf.core.signals import OrderlyEnd, end_with_parent
from deeplab_tf.deploy import device
from deeplab_tf.deploy.runtimes import Runtime

SCORES = ("miou", "pq", "pq_things", "pq_stuff", "pq_method")
STAGES = ("end_to_end", "upload", "run", "download", "post")
WARM_UP_SECONDS = 20.0
MIN_RUNS = 20
"""Of timed runs, however slow the network is."""
MAX_RUNS = 5000


class ResourceMonitor(threading.Thread):
    """Measures power, temperature and memory while the frames run; None for what the machine does not report.

    Attributes:
        power_w: mean.
        temperature_c: maximum.
        throttled: whether it ever was.
        available_mb: minimum of the system's available memory.
    """

    def __init__(self, period: float = 0.2):
        super().__init__(daemon=True)
        self.power_w: Optional[float] = None
        self.temperature_c: Optional[float] = None
        self.throttled: Optional[bool] = None
        self.available_mb: Optional[float] = None
        self._period, self._ended = period, threading.Event()
        self._powers: List[float] = []

    def run(self):
        while True:
            self._look()
            if self._ended.wait(self._period):
                return

    def _look(self):
        power = device.power_w()
        if power is not None:
            self._powers.append(power)
            self.power_w = sum(self._powers) / len(self._powers)
        self.temperature_c = _reduce(max, self.temperature_c, device.temperature_c())
        self.throttled = _reduce(max, self.throttled, device.throttled())
        self.available_mb = _reduce(min, self.available_mb, device.memory_mb()[1])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self.join()


def _reduce(choose, before, now):
    values = [value for value in (before, now) if value is not None]
    return choose(values) if values else None


def measure(runtime: Runtime, frames: np.ndarray, seconds: float) -> dict:
    """Run the frames repeatedly.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        seconds: duration after the warm-up; every frame runs at least once, and MIN_RUNS of them.
    Returns:
        `latency_ms`: by stage the milliseconds of every run; `warm_up`: {runs, stable}; `labels`: (N, h, w) uint8;
        `panoptic`: (N, H, W) int32 or None; the attributes of `ResourceMonitor`.
    """
    from deeplab_tf.deploy.video.renderer import OverlayRenderer

    painter = OverlayRenderer(runtime.table, label_stride=runtime.label_stride)
    warm_up = _warm_up(runtime, painter, frames)
    times: List[Sequence[float]] = []
    labels: List[np.ndarray] = []
    panoptics: List[Any] = []
    with ResourceMonitor() as monitor:
        end = time.perf_counter() + seconds
        while len(times) < max(len(frames), MIN_RUNS) or (time.perf_counter() < end and len(times) < MAX_RUNS):
            stages, label_map, panoptic = one_frame(runtime, painter, frames[len(times) % len(frames)])
            times.append(stages)
            if len(labels) < len(frames):
                labels.append(label_map)
                panoptics.append(panoptic)
    return {
        "latency_ms": {stage: [1000.0 * stages[i] for stages in times] for i, stage in enumerate(STAGES)},
        "warm_up": warm_up,
        "labels": np.stack(labels),
        "panoptic": None if panoptics[0] is None else np.stack(panoptics),
        "power_w": monitor.power_w,
        "temperature_c": monitor.temperature_c,
        "throttled": monitor.throttled,
        "available_mb": monitor.available_mb,
    }


def score(runtime: Runtime, frames: np.ndarray, truth: Mapping[str, np.ndarray]) -> dict:
    """Score the frames as `evaluate` does, at the truth's own size.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        truth: the label map of frame 3 as `labels_3` and its panoptic map as `panoptic_3`, where there are such, and
            the frame at its own size as `image_3`.
    Returns:
        `miou`; `pq`, `pq_things`, `pq_stuff` and `pq_method`; None for what is undefined or has no truth.
    """
    pixels, quality, method = ConfusionMatrix(len(runtime.table)), PanopticQuality(runtime.table), None
    for i, frame in enumerate(frames):
        if f"labels_{i}" not in truth:
            continue
        labels = truth[f"labels_{i}"]
        predicted = predict(runtime, truth.get(f"image_{i}", frame), labels.shape)
        pixels.update(labels, predicted.label_map)
        joined = not (runtime.gives_instances and runtime.mode == "slide")
        if joined and f"panoptic_{i}" in truth:
            method = predicted.panoptic_method
            quality.update(truth[f"panoptic_{i}"], predicted.panoptic)
    scores = quality.report(method)
    return dict({key: scores[key] for key in SCORES[1:]}, miou=none_if_nan(pixels.miou()))


def _warm_up(runtime, painter, frames):
    end = time.perf_counter() + WARM_UP_SECONDS
    times: List[float] = []
    while len(times) < 2 or (not is_stable(times) and time.perf_counter() < end):
        times.append(one_frame(runtime, painter, frames[len(times) % len(frames)])[0][0])
    return {"runs": len(times), "stable": is_stable(times)}


def one_frame(runtime, painter, frame):
    """Run one frame as `stream` does: network, instances if it predicts them, and overlay.

    Returns:
        seconds of each of STAGES, (h, w) uint8 label map, (H, W) int32 panoptic map or None.
    """
    start = time.perf_counter()
    runtime.upload(frame)
    uploaded = time.perf_counter()
    runtime.run()
    ran = time.perf_counter()
    outputs = runtime.download()
    downloaded = time.perf_counter()
    prediction = as_prediction(outputs, len(runtime.table))
    sized = ImagePrediction(prediction, runtime.table, frame.shape[:2], label_stride=runtime.label_stride)
    panoptic = None if prediction.center is None else sized.panoptic
    painter.render(frame, sized.label_map, panoptic=panoptic)
    end = time.perf_counter()
    return (
        (end - start, uploaded - start, ran - uploaded, downloaded - ran, end - downloaded),
        prediction.label_map,
        panoptic,
    )


def peak_memory_mb():
    """Return this process's peak memory in MB by Linux's high-water mark; None if the system does not report it.

    `getrusage` would include the parent's, whose memory a child shares until it starts its own program.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(lines[0][1]) / 1024.0 if lines else None


def main(path: str) -> None:
    """Do the job that a JSON file describes."""
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.runtimes import open_runtime

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    end_with_parent(job["parent"])
    frames = np.load(job["frames"], mmap_mode="r")
    before, start = device.memory_mb()[1], time.perf_counter()
    bundle = open_bundle(job["bundle"], verify=False)  # the parent has verified it
    with open_runtime(
        bundle, job["runtime"], job["precision"], say=lambda text: print(text, file=sys.stderr)
    ) as runtime:
        loaded = time.perf_counter() - start
        result = measure(runtime, np.array(frames), job["seconds"])
        if job["truth"] is not None:
            with np.load(job["truth"]) as truth:
                result.update(score(runtime, frames, truth))
        got = runtime.precision
    labels, panoptic, available = result.pop("labels"), result.pop("panoptic"), result.pop("available_mb")
    np.save(os.path.join(job["out"], "labels.npy"), labels)
    if panoptic is not None:
        np.save(os.path.join(job["out"], "panoptic.npy"), panoptic)
    taken = before - available if before is not None and available is not None else None
    result.update(load_s=loaded, precision=got, peak_memory_mb=peak_memory_mb(), system_memory_mb=taken)
    write_json(os.path.join(job["out"], "result.json"), result)


if __name__ == "__main__":
    with OrderlyEnd() as end:
        try:
            main(sys.argv[1])
        except DeepLabError as error:
            print(f"Error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(end.exit_code())
