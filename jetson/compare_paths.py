"""Build both TensorRT paths of a bundle (TF-TRT and a stand-alone engine), compare them, and pack a report.

    python jetson/compare_paths.py BUNDLE --out report [--source sample://] [--labels DIR] [--frames 32] [--seconds 30]
    [--anyway]

If the power mode or the clocks would spoil the numbers, it stops; --anyway goes on and says so in the report. A device
needs what `sh jetson/install.sh` installs; other machines compare the runtimes that they have. The output folder holds
report.md, report.json, figures of where the paths disagree, and all of them in report.tar.gz.
"""

import argparse
import json
import os
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from deeplab_tf import __version__  # noqa: E402
from deeplab_tf.core import files  # noqa: E402
from deeplab_tf.core.bundle import open_bundle  # noqa: E402
from deeplab_tf.core.errors import DeepLabError  # noqa: E402
from deeplab_tf.core.tables import markdown_table  # noqa: E402
from deeplab_tf.deploy import jetpack, probe  # noqa: E402
from deeplab_tf.deploy.compare import results  # noqa: E402
from deeplab_tf.deploy.compare.disagreement import write_disagreements  # noqa: E402
from deeplab_tf.deploy.compare.labeled_frames import load_frames  # noqa: E402
from deeplab_tf.deploy.compare.plan import Variant, missing_runtimes, variants  # noqa: E402
from deeplab_tf.deploy.compare.runner import LONGEST_VISIT, run_all  # noqa: E402
from deeplab_tf.deploy.conversion import BUILT_ON_THE_DEVICE  # noqa: E402

_BUILD = """
from deeplab_tf.deploy import runtimes
from deeplab_tf.core.bundle import open_bundle
answer = runtimes.module({runtime!r}).build(open_bundle({bundle!r}), {precision!r}, strict=True, say=lambda text: None)
"""


def main(arguments=None) -> int:
    """Return the exit code: 0, or 1 after one sentence on standard error."""
    options = _parse(arguments)
    try:
        problems = jetpack.problems()
        if problems and not options.anyway:
            advice = "Or sudo sh jetson/full_speed.sh for both; --anyway goes on."
            raise DeepLabError(f"Numbers would mislead. {' '.join(problems)} {advice}")
        _write(options.out, _compare(options, problems))
    except DeepLabError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--out", required=True, help="write the report into this folder")
    parser.add_argument("--source", default="sample://", help="read the frames from here, as deeplab-tf stream")
    parser.add_argument("--labels", help="read label files of the images from this folder")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30.0, help="time each visit for so long")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--anyway", action="store_true", help="measure even if power mode or clocks are not at maximum")
    return parser.parse_args(arguments)


def _compare(options, problems):
    bundle, missing = open_bundle(options.bundle), missing_runtimes()
    chosen = variants(None, bundle, missing)
    built = [_build(options.bundle, variant) for variant in chosen if variant.runtime in BUILT_ON_THE_DEVICE]
    refused = {(row["name"], row["precision"]) for row in built if row["error"] is not None}
    chosen = [variant for variant in chosen if tuple(variant) not in refused]
    frames = load_frames(options.source, bundle, options.frames, options.labels)
    settings = {"seconds": options.seconds, "rounds": options.rounds, "truth": frames.truth}
    outcomes = run_all(options.bundle, chosen, frames.images, say=print, **settings)
    report = results.report(bundle, frames, outcomes, missing, problems)
    report.update(version=__version__, date=time.strftime("%Y-%m-%d %H:%M"), built=built, text=results.text(report))
    long = ("files", "ranges", "classes")
    report["bundle_info"] = {key: value for key, value in bundle.info.items() if key not in long}
    figures = write_disagreements(options.out, frames.images, outcomes, bundle.table)
    report["figures"] = [os.path.basename(path) for path in figures]
    return report


def _build(bundle, variant):
    """Build an engine in a process of its own; return the result with `error`."""
    print(f"Building {variant} (up to an hour on a small device) ...")
    source = _BUILD.format(runtime=variant.runtime, bundle=os.path.abspath(bundle), precision=variant.precision)
    made, problem = probe.ask(source, LONGEST_VISIT)
    row = dict({"megabytes": None, "seconds": None}, **(made or {}))
    row.update(name=variant.runtime, precision=variant.precision, error=problem)
    print(f"  {_built(row)}")
    return row


def _built(row):
    return row["error"] or f"{row['megabytes']:.1f} MB in {row['seconds']:.0f} s"


def _write(folder, report):
    """Write report.json, report.md and report.tar.gz."""
    files.write_json(os.path.join(folder, "report.json"), report, default=str)
    files.write_text(os.path.join(folder, "report.md"), _markdown(report))
    archive = os.path.join(folder, "report.tar.gz")
    with files.replacing(archive) as part, tarfile.open(part, "w:gz") as packed:
        for name in ["report.json", "report.md"] + report["figures"]:
            packed.add(os.path.join(folder, name), arcname=os.path.join("report", name))
    print(report["text"])
    print(f"\nThe report to send back is {archive}")


def _markdown(report):
    engines = [[str(Variant(row["name"], row["precision"])), _built(row)] for row in report["built"]]
    lines = [f"# Both paths on {report['device']['name']}", ""]
    lines += [f"{report['date']}, deeplab_tf {report['version']}", "", "```", report["text"], "```", ""]
    lines += [markdown_table([["engine", "built"]] + engines), ""]
    lines += ["```json", json.dumps(report["device"], indent=2), "```", ""]
    return "\n".join(lines + [f"![where they disagree]({name})" for name in report["figures"]]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
