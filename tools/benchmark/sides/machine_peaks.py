"""Measure the machine's peaks: {"threads": N, "seconds": S, "small": BOOL} in, operations and bytes per second out."""

import sys

from worker import serve


def prepare(options):
    """Return the peaks as the description; nothing is repeated."""
    from deeplab_tf.lab.export.peak_performance import measure

    print("Measuring peaks ...", file=sys.stderr, flush=True)
    found = measure(options["threads"], seconds=options["seconds"], small=options["small"])
    return dict(found._asdict()), lambda: None


if __name__ == "__main__":
    serve(prepare)
