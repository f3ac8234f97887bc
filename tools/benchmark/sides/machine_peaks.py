"""The machine's measured peaks, as one answer: {"threads": N, "seconds": S, "small": BOOL} in, operations and bytes a
second out."""

import sys

from worker import serve


def prepare(options):
    """`about` holds the peaks; there is nothing to repeat."""
    from deeplab_tf.lab.export.peak_performance import measure

    print("Measuring peaks ...", file=sys.stderr, flush=True)
    found = measure(options["threads"], seconds=options["seconds"], small=options["small"])
    return dict(found._asdict()), lambda: None


if __name__ == "__main__":
    serve(prepare)
