"""Builds both paths to TensorRT from a bundle (TF-TRT, and a stand-alone engine), compares them, and packs a report to
send back.

    python jetson/compare_paths.py BUNDLE --out report [--source sample://] [--labels DIR] [--frames 32] [--seconds 30]
    [--anyway]

It looks at the power mode and the clocks first, and stops where they would spoil the numbers; --anyway goes on and says
so in the report. On the device it needs what `sh jetson/install.sh` installs; elsewhere it compares what there is. The
folder that it writes holds report.md for people, report.json, and pictures of where the paths disagree; the same is in
report.tar.gz.
"""

import argparse
import json
import os
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from deeplab_tf import __version__  # noqa: E402
from deeplab_tf.core.bundle import open_bundle  # noqa: E402
from deeplab_tf.core.errors import DeepLabError  # noqa: E402
from deeplab_tf.deploy import device, jetpack, probe  # noqa: E402
from deeplab_tf.deploy.compare import report as reports  # noqa: E402
from deeplab_tf.deploy.compare.frames import gather  # noqa: E402
from deeplab_tf.deploy.compare.pictures import write_disagreements  # noqa: E402
from deeplab_tf.deploy.compare.plan import Pair, pairs  # noqa: E402
from deeplab_tf.deploy.compare.runner import LONGEST_VISIT, run_all  # noqa: E402

_BUILD = """
from deeplab_tf.deploy import runtimes
from deeplab_tf.core.bundle import open_bundle
answer = runtimes.module({runtime!r}).build(open_bundle({bundle!r}), {precision!r}, strict=True, say=lambda text: None)
"""


def main(arguments=None) -> int:
    """Exit code: 0 done, 1 with one sentence where it could not be."""
    options = _parse(arguments)
    try:
        problems = jetpack.problems()
        if problems and not options.anyway:
            raise DeepLabError(
                "Numbers would mislead. {} Or sudo sh jetson/full_speed.sh for both; --anyway goes on.".format(
                    " ".join(problems)
                )
            )
        report = _run(options, problems)
    except DeepLabError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    _write(options.out, report)
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--out", required=True, help="folder of the report")
    parser.add_argument("--source", default="sample://", help="of the frames, as of deeplab-tf stream [%(default)s]")
    parser.add_argument("--labels", help="true label files of the images")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30.0, help="of timed runs a visit")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--anyway", action="store_true", help="measure although power mode or clocks are not at their highest"
    )
    return parser.parse_args(arguments)


def _run(options, problems):
    bundle = open_bundle(options.bundle)
    missing = probe.ask(probe.RUNTIMES, 300.0)
    if missing.problem is not None:
        raise DeepLabError(f"Cannot find out which runtimes work here: {missing.problem}.")
    chosen = pairs(None, bundle, missing.value)
    built = [_build(options.bundle, pair) for pair in chosen if pair.runtime in ("tf_trt", "tensorrt")]
    refused = {(row["name"], row["precision"]) for row in built if row["error"] is not None}
    chosen = [pair for pair in chosen if tuple(pair) not in refused]
    frames = gather(options.source, bundle, options.frames, options.labels)
    settings = {"seconds": options.seconds, "rounds": options.rounds, "truth": frames.truth}
    outcomes = run_all(options.bundle, chosen, frames.images, say=print, **settings)
    rows = reports.rows(outcomes, bundle, frames.truth)
    report = {
        "bundle": bundle.path,
        "source": frames.source,
        "frames": len(frames.images),
        "size": list(bundle.size),
        "runtimes": rows,
    }
    report.update(device=device.fingerprint(), version=__version__, date=time.strftime("%Y-%m-%d %H:%M"), built=built)
    report["not_here"] = {name: reason for name, reason in sorted(missing.value.items()) if reason is not None}
    report["warnings"] = reports.warnings(rows, problems)
    report["bundle_info"] = {
        key: value for key, value in bundle.info.items() if key not in ("files", "ranges", "classes")
    }
    report["pictures"] = [
        os.path.basename(path) for path in write_disagreements(options.out, frames.images, outcomes, bundle.table)
    ]
    report["text"] = reports.text(report, frames)
    return report


def _build(bundle, pair):
    """Builds an engine in a process of its own; what came of it."""
    print(f"Building {pair} (up to an hour on a small device) ...")
    source = _BUILD.format(runtime=pair.runtime, bundle=os.path.abspath(bundle), precision=pair.precision)
    made, problem = probe.ask(source, LONGEST_VISIT)
    row = dict({"megabytes": None, "seconds": None}, **(made or {}))
    row.update(name=pair.runtime, precision=pair.precision, error=problem)
    print("  {}".format(problem or "{megabytes:.1f} MB in {seconds:.0f} s".format(**row)))
    return row


def _write(folder, report):
    """report.json, report.md, report.tar.gz; each whole or not at all."""
    os.makedirs(folder, exist_ok=True)
    _replace(os.path.join(folder, "report.json"), json.dumps(report, indent=2, default=str) + "\n")
    _replace(os.path.join(folder, "report.md"), _markdown(report))
    archive = os.path.join(folder, "report.tar.gz")
    with tarfile.open(archive + ".part", "w:gz") as packed:
        for name in ["report.json", "report.md"] + report["pictures"]:
            packed.add(os.path.join(folder, name), arcname=os.path.join("report", name))
    os.replace(archive + ".part", archive)
    print(report["text"])
    print(f"\nThe report to send back is {archive}")


def _markdown(report):
    lines = [
        "# Both paths on {}".format(report["device"]["name"]),
        "",
        "{}, deeplab_tf {}".format(report["date"], report["version"]),
        "",
    ]
    lines += ["```", report["text"], "```", "", "| engine | built |", "| --- | --- |"]
    for row in report["built"]:
        said = row["error"] or "{:.1f} MB in {:.0f} s".format(row["megabytes"], row["seconds"])
        lines.append("| {} | {} |".format(Pair(row["name"], row["precision"]), said))
    lines += ["", "```json", json.dumps(report["device"], indent=2), "```", ""]
    return "\n".join(lines + [f"![where they disagree]({name})" for name in report["pictures"]]) + "\n"


def _replace(path, text):
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    sys.exit(main())
