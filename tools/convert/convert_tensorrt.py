"""Build a TensorRT engine from an ONNX file, on the GPU that runs it; TensorRT 8.2 to 11, Python 3.6 or newer, NumPy.

    python tools/convert/convert_tensorrt.py model.onnx --fp16 -o model_fp16.engine
    python tools/convert/convert_tensorrt.py model_int8.onnx --int8 -o model_int8.engine
    python tools/convert/convert_tensorrt.py model.onnx --int8 --calibration calibration.cache -o model_int8.engine

ENGINE.json describes the sources; called again, the tool builds only if they have changed. 'deeplab-tf convert' does
this for a bundle.
"""

import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)  # a device has the files, not always the package

from deeplab_tf.core.errors import DeepLabError  # noqa: E402
from deeplab_tf.deploy.runtimes import _cudart, _engines, tensorrt  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the ONNX file; with Q/DQ nodes for --int8, unless --calibration is given")
    kind = parser.add_mutually_exclusive_group(required=True)
    for option, precision in (("--int8", "int8"), ("--fp16", "float16"), ("--fp32", "float32")):
        kind.add_argument(option, dest="precision", action="store_const", const=precision)
    parser.add_argument("-o", "--out", required=True, metavar="ENGINE", help="the file to write")
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="a calibration cache: int8 by ranges instead of Q/DQ nodes (to TensorRT 10)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse a precision that this GPU lacks, instead of taking the next"
    )
    parser.add_argument("--rebuild", action="store_true", help="build even if the engine is up to date")
    parser.add_argument("--own-kernels", action="store_true", default=None, help="no kernels of cuBLAS and cuDNN")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    """Return the exit code: 0, or 1 after one sentence on standard error."""
    options = parse(arguments)
    try:
        _engines.check_output(options.out)
        reason = tensorrt.missing()
        if reason is not None:
            raise DeepLabError(reason)
        gpu = _cudart.open_cuda().gpu()
        precision = _engines.supported_precision(options.precision, gpu, strict=options.strict)
        built = tensorrt.build_engine(
            options.model,
            options.out,
            precision,
            calibration=options.calibration if precision == "int8" else None,
            rebuild=options.rebuild,
            own_kernels=options.own_kernels,
            gpu=gpu,
        )
    except DeepLabError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    how = "is up to date" if built["reused"] else f"built in {built['seconds']:.0f} s"
    print("{path}: {precision}, {megabytes:.1f} MB, {how}".format(how=how, **built))
    return 0


if __name__ == "__main__":
    sys.exit(main())
