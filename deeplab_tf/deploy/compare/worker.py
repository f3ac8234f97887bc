"""The child of `compare`: loads one runtime at one precision, runs the frames, writes what it measured.

    python -m deeplab_tf.deploy.compare.worker JOB.json

JOB.json holds `bundle`, `runtime`, `precision`, `frames` (a .npy file), `seconds`, `sizes` (see `measure`), and `out`,
a folder for result.json, labels.npy and, where there are such, panoptic.npy and scored.npz.
"""

import json
import os
import sys
import threading
import time

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.metrics.latency import is_stable
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.prediction import ImagePrediction, as_prediction, predict
from deeplab_tf.deploy import device

STAGES = ("end_to_end", "upload", "run", "download", "post")
WARM_UP_SECONDS = 20.0
FEWEST_RUNS = 20
"""Timed runs at least, however slow the network is."""
MOST_RUNS = 5000


class Watch(threading.Thread):
    """Looks at power, temperature and memory while the frames run.

    Attributes:
        watts: mean; None where the board does not tell.
        degrees: the highest, in Celsius.
        throttled: whether it ever was.
        memory: MB that the system had available, at the least.
    """

    def __init__(self, period: float = 0.2):
        super().__init__(daemon=True)
        self.watts = self.degrees = self.throttled = self.memory = None
        self._period, self._stop_now, self._powers = period, threading.Event(), []

    def run(self):
        while True:
            self._look()
            if self._stop_now.wait(self._period):
                return

    def _look(self):
        watts, degrees, throttled, memory = (
            device.power_w(),
            device.temperature_c(),
            device.throttled(),
            device.memory_mb()[1],
        )
        if watts is not None:
            self._powers.append(watts)
            self.watts = sum(self._powers) / len(self._powers)
        self.degrees = _most(max, self.degrees, degrees)
        self.throttled = _most(max, self.throttled, throttled)
        self.memory = _most(min, self.memory, memory)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._stop_now.set()
        self.join()


def _most(choose, before, now):
    return now if before is None else before if now is None else choose(before, now)


def measure(runtime, frames: np.ndarray, seconds: float, sizes=()) -> dict:
    """Runs the frames over and over.

    Args:
        runtime: a `Runtime`.
        frames: (N, H, W, 3) uint8 RGB.
        seconds: how long, once warm; every frame comes once at least, and FEWEST_RUNS of them.
        sizes: of each frame the height, width of its truth, or None.
    Returns:
        `latency_ms`: by stage the milliseconds of every run; `warm_up`: {runs, stable}; `labels`: (N, h, w) uint8;
            `panoptic`:
        (N, h, w) int32 or None; `scored`: for a network that gives probabilities, label maps by frame, at `sizes`;
        `power_w`, `temperature_c`, `throttled`, `available_mb` as of `Watch`.
    """
    from deeplab_tf.deploy.video.renderer import OverlayRenderer

    painter = OverlayRenderer(runtime.table, label_stride=runtime.label_stride)
    warm_up = _warm_up(runtime, painter, frames)
    times, labels, panoptics = [], [], []
    with Watch() as watch:
        end = time.perf_counter() + seconds
        while len(times) < max(len(frames), FEWEST_RUNS) or (time.perf_counter() < end and len(times) < MOST_RUNS):
            stages, label_map, panoptic = one_frame(runtime, painter, frames[len(times) % len(frames)])
            times.append(stages)
            if len(labels) < len(frames):
                labels.append(label_map)
                panoptics.append(panoptic)
    latency = {stage: [1000.0 * stages[i] for stages in times] for i, stage in enumerate(STAGES)}
    told = {
        "power_w": watch.watts,
        "temperature_c": watch.degrees,
        "throttled": watch.throttled,
        "available_mb": watch.memory,
    }
    panoptic = None if panoptics[0] is None else np.stack(panoptics)
    scored = {}
    if runtime.gives_probabilities:  # labels can be resized by whoever has them
        scored = {str(i): predict(runtime, frames[i], size).label_map for i, size in enumerate(sizes) if size}
    return dict(told, latency_ms=latency, warm_up=warm_up, labels=np.stack(labels), panoptic=panoptic, scored=scored)


def _warm_up(runtime, painter, frames):
    times, end = [], time.perf_counter() + WARM_UP_SECONDS
    while len(times) < 2 or (not is_stable(times) and time.perf_counter() < end):
        times.append(one_frame(runtime, painter, frames[len(times) % len(frames)])[0][0])
    return {"runs": len(times), "stable": is_stable(times)}


def one_frame(runtime, painter, frame):
    """((seconds of each of STAGES), (h, w) uint8 label map, (h, w) int32 panoptic map or None) of one frame.

    As `stream` treats it: things are told apart where the network can, and the picture is drawn.
    """
    start = time.perf_counter()
    runtime.upload(frame)
    uploaded = time.perf_counter()
    runtime.run()
    ran = time.perf_counter()
    outputs = runtime.download()
    downloaded = time.perf_counter()
    prediction, panoptic = as_prediction(outputs), None
    if prediction.center is not None:
        panoptic, _ = to_panoptic(prediction, runtime.table, stride=runtime.label_stride)
    sized = ImagePrediction(prediction, runtime.table, frame.shape[:2], label_stride=runtime.label_stride)
    painter.render(frame, sized.label_map, panoptic=panoptic)
    end = time.perf_counter()
    return (
        (end - start, uploaded - start, ran - uploaded, downloaded - ran, end - downloaded),
        prediction.label_map,
        panoptic,
    )


def peak_memory_mb():
    """The most memory that this process ever held, in MB; None where the system does not tell.

    Linux's own high-water mark. `getrusage` would count the parent's too, whose memory a child shares until it begins
    its own program.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(lines[0][1]) / 1024.0 if lines else None


def main(path: str) -> None:
    """Does the job that a JSON file describes."""
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.runtimes import open_runtime

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    frames = np.load(job["frames"], mmap_mode="r")
    before, start = device.memory_mb()[1], time.perf_counter()
    bundle = open_bundle(job["bundle"], verify=False)  # the parent has verified it
    with open_runtime(
        bundle, job["runtime"], job["precision"], say=lambda text: print(text, file=sys.stderr)
    ) as runtime:
        loaded = time.perf_counter() - start
        result = measure(runtime, np.array(frames), job["seconds"], job["sizes"])
        got = runtime.precision
    labels, panoptic, least = result.pop("labels"), result.pop("panoptic"), result.pop("available_mb")
    np.save(os.path.join(job["out"], "labels.npy"), labels)
    scored = result.pop("scored")
    if scored:
        np.savez(os.path.join(job["out"], "scored.npz"), **scored)
    if panoptic is not None:
        np.save(os.path.join(job["out"], "panoptic.npy"), panoptic)
    taken = before - least if before is not None and least is not None else None
    result.update(load_s=loaded, precision=got, peak_memory_mb=peak_memory_mb(), system_memory_mb=taken)
    with open(os.path.join(job["out"], "result.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except DeepLabError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
