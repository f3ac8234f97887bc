"""Measure the machine's peaks: {"threads": N, "seconds": S, "small": BOOL} in, operations and bytes per second out."""

import os
import sys

from worker import serve

from deeplab_tf.lab.export import peak_performance

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def measure(threads, seconds, small):
    """Return operations/s (a multiply-add is two) by precision, the best of all libraries, and `memory` in bytes/s."""
    shapes = peak_performance.problems(small).products
    floats, halves = zip(*(in_tensorflow(threads, shape, seconds) for shape in shapes))
    float32, int8 = (
        peak_performance.in_onnx_runtime(threads, precision, seconds=seconds, small=small)
        for precision in ("float32", "int8")
    )
    memory = peak_performance.copy_bandwidth(threads, seconds=seconds, small=small)
    return {"float32": max(float32, *floats), "bfloat16": max(halves), "int8": int8, "memory": memory}


def in_tensorflow(threads, shape, seconds):
    """Return the operations/s of a matrix product in float32 and in bfloat16."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        pass  # it has started already, with the threads that it was given then
    rows, inner, columns = shape
    product = tf.function(tf.matmul, jit_compile=False)
    rates = []
    for kind in (tf.float32, tf.bfloat16):
        a, b = (tf.cast(tf.random.stateless_normal(sides, [0, 1]), kind) for sides in ((rows, inner), (inner, columns)))
        time = peak_performance.fastest(lambda a=a, b=b: product(a, b).numpy(), seconds)
        rates.append(2 * rows * inner * columns / time)
    return rates


def prepare(options):
    """Return the peaks as the description; nothing is repeated."""
    print("Measuring peaks ...", file=sys.stderr, flush=True)
    return measure(options["threads"], options["seconds"], options["small"]), lambda: None


if __name__ == "__main__":
    serve(prepare)
