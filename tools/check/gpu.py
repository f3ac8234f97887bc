"""Everything that needs an NVIDIA GPU, in one go: builds engines from bundles, runs them, compares them with ONNX
Runtime in float.

    python tools/check/gpu.py pack BUNDLE ... --frames IMAGES --labels LABELS --out frames.npz   # needs ONNX Runtime
    python tools/check/gpu.py BUNDLE ... --frames frames.npz --json gpu.json     # on the machine with the GPU

The second needs no more than Python 3.6, NumPy and TensorRT; where OpenCV and ONNX Runtime are too, --frames and
--labels may be folders. For each bundle it tries TensorRT in float32, float16, int8 by Q/DQ nodes and int8 by
calibration cache, and TF-TRT in all three where TensorFlow has it; each in a process of its own, so that one that fails
or crashes is noted with its error and the rest goes on. The JSON file is written after each.

Agreement is the share of pixels whose label is that of ONNX Runtime in float32 on the same frame. mIoU is counted at
the network's size, labels upsampled by repeating: good for comparing the rows, not for comparing with `deeplab-tf
evaluate`.
"""

import argparse
import hashlib
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
from deeplab_tf.core.files import write_json  # noqa: E402
from deeplab_tf.deploy.runtimes import _cudart, _engines, module  # noqa: E402

CASES = [("tensorrt", precision, {}) for precision in ("float32", "float16", "int8")]
CASES += [("tensorrt", "int8", {"implicit": True})]
CASES += [("tf_trt", precision, {}) for precision in ("float32", "float16", "int8")]
"""Runtime, precision, options for its `load`."""

PARTS = ("end_to_end", "upload", "run", "download")


# One case


def measure(path, case, arrays, seconds, say=print) -> dict:
    """Builds, loads and times one runtime on one bundle, and compares its labels; see the head of this file."""
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
    """Frames a second and percentiles over at least 20 frames and `seconds`, after the frames have gone through
    once."""
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
    whole, run = milliseconds[:, 0].mean(), milliseconds[:, 2].mean()
    return {"fps": 1e3 / whole, "fps_without_transfers": 1e3 / run, "latency_ms": latency, "timed_frames": len(times)}


# All of them


def check(bundles, frames_file, json_file, run) -> dict:
    """Runs every case on every bundle; `run(path, case)` returns its findings or raises. Writes the JSON file after
    each."""
    report = {"machine": machine(), "frames": digest_of(frames_file), "results": []}
    for path in bundles:
        for case in CASES:
            name, precision, options = case
            row = {"bundle": os.path.basename(os.path.normpath(path)), "runtime": name, "asked_precision": precision}
            row.update(options)
            print("{}: {} {} {}".format(path, name, precision, "implicit" if options else ""), flush=True)
            try:
                row.update(run(path, case))
            except Exception as error:  # whatever it is belongs into the report, and the rest goes on
                row["error"] = f"{type(error).__name__}: {error}"
            for problem in ("skipped", "error"):
                if problem in row:
                    print(f"  {problem}: {row[problem]}", flush=True)
            report["results"].append(row)
            write_json(json_file, report, sort_keys=True)
    return report


def in_a_process(frames_file, seconds, limit):
    """`run` for `check`: each case in a process of its own."""

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
                raise DeepLabError("exit code {}: {}".format(code, " | ".join(lines[-5:])))
            with open(answer, encoding="utf-8") as file:
                return json.load(file)

    return run


def machine() -> dict:
    """What was measured on."""
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


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def table(report) -> str:
    """The results in Markdown."""
    head = (
        "bundle",
        "runtime",
        "precision",
        "build",
        "size",
        "frames/s",
        "p50, p90, p99",
        "without transfers",
        "GPU memory",
    )
    head += ("agreement", "mIoU")
    rows = [head, ("---",) * len(head)]
    for row in report["results"]:
        precision = row["asked_precision"] + (" by cache" if row.get("implicit") else "")
        start = (row["bundle"], row["runtime"], precision)
        if "latency_ms" not in row:
            reason = (row.get("skipped") or row["error"]).replace("|", "/").replace("\n", " ")
            rows.append(start + (reason,) + ("",) * (len(head) - 4))
            continue
        whole, run = row["latency_ms"]["end_to_end"], row["latency_ms"]["run"]
        rows.append(
            start
            + (
                "again" if row["reused"] else "{:.0f} s".format(row["seconds"]),
                "{:.1f} MB".format(row["megabytes"]),
                "{:.1f}".format(row["fps"]),
                "{p50:.2f}, {p90:.2f}, {p99:.2f} ms".format(**whole),
                "{:.1f} frames/s, {p50:.2f}, {p90:.2f}, {p99:.2f} ms".format(row["fps_without_transfers"], **run),
                "{:.0f} MB".format(row["gpu_memory_mb"]),
                "-" if row["agreement"] is None else "{:.2%}".format(row["agreement"]),
                "-" if row["miou"] is None else "{:.4f} (float: {:.4f})".format(row["miou"], row["reference_miou"]),
            )
        )
    return "\n".join("| {} |".format(" | ".join(row)) for row in rows)


# The command line


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="'pack' as the first word only packs the frames")
    parser.add_argument("--frames", required=True, help="a folder of images, or what 'pack' wrote")
    parser.add_argument("--labels", help="a folder of label files named like the images")
    parser.add_argument("--count", type=int, default=50, help="at most so many frames (%(default)s)")
    parser.add_argument("--json", metavar="FILE", default="check_gpu.json", help="where results go (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing for each runtime (%(default)s)")
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
    """The .npz file, packed into `folder` first if images are given."""
    if os.path.isfile(options.frames):
        return options.frames
    place = options.out if options.pack else os.path.join(folder, "frames.npz")
    bundles = [open_bundle(path) for path in options.bundles[options.pack :]]
    np.savez_compressed(place, **pack(bundles, options.frames, options.labels, count=options.count))
    return place


def one_case(path, frames_file, seconds, case, answer) -> int:
    """What a process of `in_a_process` does."""
    with np.load(frames_file) as file:
        arrays = dict(file.items())
    found = measure(path, json.loads(case), arrays, float(seconds))
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return 0


def main(arguments=None) -> int:
    """The exit code: 1 where nothing could be checked at all."""
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
