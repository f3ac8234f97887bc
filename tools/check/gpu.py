"""Check everything that needs an NVIDIA GPU: build engines from bundles, run them, compare them with ONNX Runtime in
FP32.

    python tools/check/gpu.py pack BUNDLE ... --frames IMAGES --labels LABELS --out frames.npz   # needs ONNX Runtime
    python tools/check/gpu.py BUNDLE ... --frames frames.npz --json gpu.json     # on the machine with the GPU

The second needs only Python 3.6, NumPy and TensorRT; with OpenCV and ONNX Runtime, --frames and --labels may be
folders. For each bundle it tries TensorRT in float32, float16, int8 by Q/DQ nodes and int8 by calibration cache, and
TF-TRT in all three if TensorFlow has it. Each runs in a process of its own: if one fails or crashes, its error is
reported and the rest goes on. The JSON file is written after each.

Agreement is pixel agreement with ONNX Runtime in float32. mIoU is measured at the network's size, with labels upsampled
by repeating: compare rows by it, but not with `deeplab-tf evaluate`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)  # the machine has the files, not always the package

from gpu_frames import compare, frames_of, pack  # noqa: E402

from deeplab_tf.core.bundle import open_bundle  # noqa: E402
from deeplab_tf.core.errors import DeepLabError  # noqa: E402
from deeplab_tf.core.files import sha256, write_json  # noqa: E402
from deeplab_tf.core.tables import markdown_table, number  # noqa: E402
from deeplab_tf.deploy.runtimes import _cudart, _engines, module  # noqa: E402

CASES = [("tensorrt", precision, {}) for precision in ("float32", "float16", "int8")]
CASES += [("tensorrt", "int8", {"implicit": True})]
CASES += [("tf_trt", precision, {}) for precision in ("float32", "float16", "int8")]
"""Runtime, precision, options for its `load`."""

PARTS = ("end_to_end", "upload", "run", "download")


# One case


def measure(path, case, arrays, seconds, say=print) -> dict:
    """Build, load and time one runtime on one bundle, and compare its labels."""
    name, precision, options = case
    reason = module(name).missing()
    if reason is not None:
        return {"skipped": reason}
    bundle = open_bundle(path)
    built = module(name).build(bundle, precision, say=say, **options)
    found = {
        each: built[each]
        for each in ("precision", "megabytes", "seconds", "reused", "engines", "outside")
        if each in built
    }
    found["built_precision"] = found.pop("precision")
    cuda = _cudart.open_cuda()
    free, _ = cuda.memory()
    frames = frames_of(bundle, arrays)
    with module(name).load(bundle, precision, say=say, **options) as runtime:
        labels = np.stack([runtime(frame) for frame in frames])
        found["gpu_memory_mb"] = (free - cuda.memory()[0]) / 1e6
        found.update(timings(runtime, frames, seconds))
    found.update(compare(labels, bundle, arrays))
    return found


def timings(runtime, frames, seconds) -> dict:
    """Return frames/s and percentiles over at least 20 frames and `seconds`, after a warm-up."""
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 20:
        frame = frames[len(times) % len(frames)]
        clock = [time.perf_counter()]
        for work in (lambda frame=frame: runtime.upload(frame), runtime.run, runtime.download):
            work()
            clock.append(time.perf_counter())
        times.append([clock[3] - clock[0]] + list(np.diff(clock)))
    milliseconds = np.array(times) * 1e3
    shares = np.percentile(milliseconds, (50, 90, 99), axis=0).T
    latency = {part: dict(zip(("p50", "p90", "p99"), row.tolist())) for part, row in zip(PARTS, shares)}
    total, run = milliseconds[:, 0].mean(), milliseconds[:, 2].mean()
    return {"fps": 1e3 / total, "fps_without_transfers": 1e3 / run, "latency_ms": latency, "timed_frames": len(times)}


# All of them


def check(bundles, frames_file, json_file, run) -> dict:
    """Run every case on every bundle; `run(path, case)` returns its result or raises. Writes the JSON file after
    each."""
    report = {"machine": machine(), "frames": sha256(frames_file), "results": []}
    for path in bundles:
        for case in CASES:
            name, precision, options = case
            row = {"bundle": os.path.basename(os.path.normpath(path)), "runtime": name, "asked_precision": precision}
            row.update(options)
            print(f"{path}: {name} {precision} {'implicit' if options else ''}", flush=True)
            try:
                row.update(run(path, case))
            except Exception as error:  # any error belongs in the report
                row["error"] = f"{type(error).__name__}: {error}"
            for problem in ("skipped", "error"):
                if problem in row:
                    print(f"  {problem}: {row[problem]}", flush=True)
            report["results"].append(row)
            write_json(json_file, report, sort_keys=True)
    return report


def in_a_process(frames_file, seconds, limit):
    """Return `run` for `check`: each case in a process of its own."""

    def run(path, case):
        with tempfile.TemporaryDirectory() as folder:
            answer = os.path.join(folder, "answer.json")
            command = [
                sys.executable,
                os.path.abspath(__file__),
                "case",
                path,
                frames_file,
                str(seconds),
                json.dumps(case),
                answer,
            ]
            with open(os.path.join(folder, "log"), "w+b") as log:
                process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
                try:
                    code = process.wait(limit)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise DeepLabError(f"it took more than {limit} s") from None
                log.seek(0)
                lines = log.read().decode("utf-8", "replace").strip().splitlines()
            if code or not os.path.exists(answer):
                raise DeepLabError(f"exit code {code}: {' | '.join(lines[-5:])}")
            with open(answer, encoding="utf-8") as file:
                return json.load(file)

    return run


def machine() -> dict:
    """Return a description of the machine."""
    found = {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "gpu": None,
        "driver": None,
        "tensorrt": None,
    }
    try:
        gpu = _cudart.open_cuda().gpu()
        found.update(gpu=gpu.name, compute_capability=_engines.capability_text(gpu), gpu_memory_mb=gpu.total / 1e6)
    except DeepLabError as error:
        found["gpu_error"] = str(error)
    try:
        import tensorrt

        found["tensorrt"] = tensorrt.__version__
    except (ImportError, OSError) as error:
        found["tensorrt_error"] = str(error)
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.check_output(query, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        pass  # a Jetson has none
    return found


def table(report) -> str:
    """Return the results in Markdown."""
    head = ("bundle", "runtime", "precision", "build", "size", "frames/s", "p50, p90, p99", "without transfers")
    head += ("GPU memory", "agreement", "mIoU")
    rows = [head]
    for row in report["results"]:
        precision = row["asked_precision"] + (" by cache" if row.get("implicit") else "")
        start = (row["bundle"], row["runtime"], precision)
        if "latency_ms" not in row:
            reason = (row.get("skipped") or row["error"]).replace("|", "/").replace("\n", " ")
            rows.append(start + (reason,) + ("",) * (len(head) - 4))
            continue
        total, run = (
            "{p50:.2f}, {p90:.2f}, {p99:.2f} ms".format(**row["latency_ms"][part]) for part in ("end_to_end", "run")
        )
        rows.append(
            start
            + (
                "reused" if row["reused"] else f"{row['seconds']:.0f} s",
                f"{row['megabytes']:.1f} MB",
                f"{row['fps']:.1f}",
                total,
                f"{row['fps_without_transfers']:.1f} frames/s, {run}",
                f"{row['gpu_memory_mb']:.0f} MB",
                number(row["agreement"], "{:.2%}"),
                "-" if row["miou"] is None else f"{row['miou']:.4f} (float: {row['reference_miou']:.4f})",
            )
        )
    return markdown_table(rows)


# The command line


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="'pack' in front of them only packs the frames")
    parser.add_argument("--frames", required=True, help="a folder of images, or what 'pack' wrote")
    parser.add_argument("--labels", help="a folder of label files named like the images")
    parser.add_argument("--count", type=int, default=50, help="number of frames at most (%(default)s)")
    parser.add_argument("--json", metavar="FILE", default="check_gpu.json", help="write the results here (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time each runtime this long (%(default)s)")
    parser.add_argument(
        "--limit", type=float, default=1800.0, help="seconds for one runtime, building included (%(default)s)"
    )
    parser.add_argument("--out", metavar="FILE", help="for pack: the .npz file to write")
    options = parser.parse_args(arguments)
    options.pack = options.bundles[0] == "pack"
    if options.pack and (len(options.bundles) < 2 or not options.out):
        parser.error("pack needs bundles and --out FILE")
    return options


def frames_in_a_file(options, folder) -> str:
    """Return the .npz file, packed into `folder` first if images are given."""
    if os.path.isfile(options.frames):
        return options.frames
    place = options.out if options.pack else os.path.join(folder, "frames.npz")
    bundles = [open_bundle(path) for path in options.bundles[options.pack :]]
    np.savez_compressed(place, **pack(bundles, options.frames, options.labels, count=options.count))
    return place


def one_case(path, frames_file, seconds, case, answer) -> int:
    """Run one case in a process of `in_a_process`."""
    with np.load(frames_file) as file:
        arrays = dict(file.items())
    found = measure(path, json.loads(case), arrays, float(seconds))
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return 0


def main(arguments=None) -> int:
    """Return the exit code: 1 if nothing could be checked."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["case"]:
        return one_case(*arguments[1:])
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            frames_file = frames_in_a_file(options, folder)
            if options.pack:
                print(f"{frames_file}: {os.path.getsize(frames_file) / 1e6:.1f} MB")
                return 0
            for path in options.bundles:
                open_bundle(path)
            report = check(
                options.bundles, frames_file, options.json, in_a_process(frames_file, options.seconds, options.limit)
            )
    except (DeepLabError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(table(report))
    return 0 if any("fps" in row for row in report["results"]) else 1


if __name__ == "__main__":
    sys.exit(main())
