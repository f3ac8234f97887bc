"""Compare deeplab_tf with Keras, keras-hub, segmentation_models_pytorch, OpenVINO and cityscapesScripts.

    sh tools/environments/peers.sh                                    # once; rows of a missing peer are left out
    python tools/benchmark/peers.py [--only ROW ...] [--json FILE]
    python tools/benchmark/peers.py --list
    python tools/benchmark/peers.py --quick                           # a smoke test; its figures mean nothing

The last figure of a row is our speed divided by the peer's: above 1, ours is faster. Each side runs in a process of its
own with the same number of threads. After a warm-up they alternate (A B A B ...); the figure is the median over turns
of the ratio of least times, because a machine's speed drifts. Below the table: the machine's measured peaks, and the
share of them that the full INT8 network reaches.

Run it on an otherwise idle machine. The first run builds three networks (minutes) and keeps them in build/benchmark.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from sides.rows import INSTALLED_BY, NETWORKS, rows
from sides.table import cells, limit_lines, limits, peak_lines, ratio, repetitions, seconds
from sides.worker import Worker, WorkerError

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.processor import physical_cores
from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy import device

ROOT = Path(__file__).resolve().parents[2]
"""Instruction sets that decide the speed."""


def common(options):
    """Return the options that every side gets."""
    size = [64, 128] if options.quick else [512, 1024]
    training = {"size": [64, 128] if options.quick else [256, 512], "batch": 2 if options.quick else 4}
    return {"threads": options.threads, "frame_size": size, "training": training, "frames": 2 if options.quick else 10}


def side_options(side, shared, folder):
    """Return the options of one side's process."""
    made = {"threads": shared["threads"], "frames": shared["frames"], "size": shared["frame_size"], **side.options}
    if side.options.get("task") == "step":
        made.update(shared["training"])
    if side.program in ("scoring", "panoptic") and not side.options["method"].endswith("grouping"):
        made["size"] = [2 * length for length in shared["frame_size"]]
    if side.program == "reading":
        made["folder"] = str(folder / "reading-{}x{}".format(*shared["frame_size"]))
    if side.bundle:
        bundle = folder / "{}-{}x{}".format(side.bundle, *shared["frame_size"])
        made["bundle"] = str(bundle)
        made["files"] = [str(bundle / name) for name in side.options.get("files", ())]
    return made


def missing(side):
    """Return None, or the line that installs what the side needs."""
    if not side.environment:
        return None
    python = python_of(side)
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({side.needs!r}) is None)"
    if python.exists() and subprocess.run([str(python), "-c", found], check=False).returncode == 0:
        return None
    return f"{side.needs} is not installed: {INSTALLED_BY[side.environment]}"


def python_of(side):
    """Return the Python that runs a side."""
    return ROOT / side.environment / "bin" / "python" if side.environment else Path(sys.executable)


def make_network(name, shared, folder, quick):
    """Build a bundle unless it exists."""
    bundle = folder / "{}-{}x{}".format(name, *shared["frame_size"])
    if (bundle / ("model_int8.tflite" if NETWORKS[name]["int8"] else "bundle.json")).exists():
        return
    say(f"Making the network '{name}' ...")
    model = {
        **NETWORKS[name]["model"],
        **({"width": 0.125, "aspp_channels": 16, "decoder_channels": 16} if quick else {}),
    }
    order = {"bundle": str(bundle), "size": shared["frame_size"], "int8": NETWORKS[name]["int8"], "model": model}
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, str(ROOT / "tools" / "benchmark" / "sides" / "networks.py"), json.dumps(order)]
    if subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode:
        raise DeepLabError(f"The network '{name}' could not be built; see the error above.")


def measure(row, shared, folder, options):
    """Measure one row of the table; return it as a dict."""
    line = {
        "name": row.name,
        "what": row.what,
        "unit": row.unit,
        "ours": row.ours.title,
        "peer": row.peer.title,
        "why": row.why,
    }
    reason = missing(row.peer)
    if reason:
        return {**line, "missing": reason}
    for side in (row.ours, row.peer):
        if side.bundle:
            make_network(side.bundle, shared, folder, options.quick)
    say(f"{row.name}: {row.ours.title} and {row.peer.title} ...")
    workers = []
    try:
        for side in (row.ours, row.peer):
            workers.append(Worker(python_of(side), side.program, side_options(side, shared, folder)))
        results = [worker.about.get("result") for worker in workers]
        if row.agree is not None and abs(results[0] - results[1]) > row.agree:
            raise WorkerError("the results {} and {} differ, so the times cannot be compared".format(*results))
        counts = [repetitions(min(worker.seconds(2)), options.turn) for worker in workers]
        turns = [tuple(worker.seconds(count) for worker, count in zip(workers, counts)) for _ in range(options.rounds)]
    except WorkerError as error:
        return {**line, "failed": str(error)}
    finally:
        for worker in workers:
            worker.close()
    line.update(
        ours_seconds=seconds(turns, 0) / row.scale, peer_seconds=seconds(turns, 1) / row.scale, ratio=ratio(turns)
    )
    return {**line, "turns": turns, "ours_about": workers[0].about, "peer_about": workers[1].about}


def measure_peaks(options):
    """Return the machine's peaks as a dict."""
    settings = {"threads": options.threads, "seconds": 0.01 if options.quick else 1.0, "small": options.quick}
    worker = Worker(sys.executable, "machine_peaks", settings)
    worker.close()
    return worker.about


def int8_limits(found, peaks):
    """Return `table.limits`, or None if the row was not measured."""
    row = next((row for row in found if row["name"].startswith("int8-") and "ratio" in row), None)
    if row is None:
        return None
    theirs = row["peer_seconds"] if row["name"] == "int8-openvino" else None
    return limits(row["ours_about"]["gmac"], row["ours_seconds"], theirs, peaks["int8"])


def machine(options):
    """Return hardware, versions and threads, as a dict."""
    found = device.fingerprint()
    found.update(threads=options.threads)
    return found


def machine_line(found, rows_found):
    """Return one line of hardware and versions."""
    versions = [f"{name} {version}" for name, version in sorted(found["versions"].items())]
    versions += sorted({row["peer_about"]["name"] for row in rows_found if "peer_about" in row})
    return "{}; {}; {} threads; {}; {}".format(
        found["processor"], ", ".join(found["features"]), found["threads"], found["system"], ", ".join(versions)
    )


def say(text):
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def parse(arguments):
    """Return the parsed options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", metavar="ROW", help="measure this row, or all whose names begin so; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="list the rows, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="smoke test with tiny sizes and one turn")
    parser.add_argument(
        "--threads", type=int, default=physical_cores(), help="threads of each side [default: all cores]"
    )
    parser.add_argument("--rounds", type=int, help="turns of each row [default: 5]")
    parser.add_argument("--turn", type=float, help="seconds of a turn, at least two repetitions [default: 3]")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "benchmark", help="keep networks and frames here"
    )
    parser.add_argument("--json", metavar="FILE", help="also write everything to this file")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.turn = options.turn if options.turn is not None else 0.0 if options.quick else 3.0
    return options


def chosen(options, shared):
    """Return the selected rows. Raise DeepLabError for an unknown name."""
    every = rows({"batch": shared["training"]["batch"], "frames": shared["frames"], "quick": options.quick})
    names = [row.name for row in every]
    for name in options.only or ():
        if not any(each.startswith(name) for each in names):
            raise DeepLabError(f"There is no row '{name}'. {did_you_mean(name, names)}")
    return [row for row in every if not options.only or any(row.name.startswith(name) for name in options.only)]


def main(arguments):
    """Measure the selected rows and print the table."""
    options = parse(arguments)
    shared = common(options)
    wanted = chosen(options, shared)
    if options.list:
        print(text_table([[row.name, row.ours.title, row.peer.title, row.what] for row in wanted]))
        return
    absent = {row.name: missing(row.peer) for row in wanted} if options.only else {}
    if options.only and all(absent.values()):
        raise DeepLabError(not_measured(absent))
    peaks = measure_peaks(options)
    found = [measure(row, shared, options.folder, options) for row in wanted]
    about, limit = machine(options), int8_limits(found, peaks)
    print(text_table(cells(found)))
    if options.quick:
        print("\nQuick: everything ran; none of these figures means anything.")
    print("\n".join(["", *peak_lines(peaks), *(limit_lines(limit) if limit else ()), "", machine_line(about, found)]))
    if options.json:
        report = {"machine": about, "command": sys.argv, "peaks": peaks, "int8_limits": limit, "rows": found}
        Path(options.json).write_text(json.dumps(report, indent=2), encoding="utf-8")
    if any("failed" in row for row in found):
        raise DeepLabError("Some rows failed; see the table.")
    if any(absent.values()):
        raise DeepLabError(not_measured(absent))


def not_measured(absent):
    """Return which of the rows asked for have no figure, and why, in one sentence."""
    reasons = [f"{name}, as {reason}" for name, reason in absent.items() if reason]
    return f"Not measured: {'; '.join(reasons)}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (DeepLabError, WorkerError) as error:
        sys.exit(f"Error: {error}")
