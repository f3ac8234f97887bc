"""Convert a SavedModel with TF-TRT and build its engines, on the GPU that runs it; TensorFlow 2.6 to 2.17 with TF-TRT.

    python tools/convert/convert_tf_trt.py BUNDLE/tf_trt/float --fp16 -o model_fp16
    python tools/convert/convert_tf_trt.py BUNDLE/tf_trt/int8 --int8 -o model_int8
    python tools/convert/convert_tf_trt.py BUNDLE/tf_trt/float --int8 --images IMAGES -o model_int8

--int8 uses the ranges of the graph's fake-quantize nodes; with --images TF-TRT calibrates on the GPU. What TF-TRT would
silently leave to TensorFlow is an error here. OUT.json describes the sources; called again, the tool builds only if
they have changed. 'deeplab-tf convert' does this for a bundle.
"""

import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)  # a device has the files, not always the package

from deeplab_tf.core.errors import DeepLabError  # noqa: E402
from deeplab_tf.deploy.runtimes import _cudart, _engines, _tf_trt_convert, tf_trt  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the folder of the SavedModel")
    kind = parser.add_mutually_exclusive_group(required=True)
    for option, precision in (("--int8", "int8"), ("--fp16", "float16"), ("--fp32", "float32")):
        kind.add_argument(option, dest="precision", action="store_const", const=precision)
    parser.add_argument("-o", "--out", required=True, help="the folder to write")
    parser.add_argument("--images", metavar="DIR", help="images for TF-TRT's own calibration, 100 to 500 of them")
    parser.add_argument(
        "--strict", action="store_true", help="refuse a precision that this GPU lacks, instead of taking the next"
    )
    parser.add_argument("--rebuild", action="store_true", help="build even if the result is up to date")
    return parser.parse_args(arguments)


def read_frames(folder, size):
    """Yield the (H, W, 3) uint8 frames of a folder's images."""
    from deeplab_tf.core.image_files import list_images, read_image, resize_image

    paths = list_images(folder, recursive=True)
    if not paths:
        raise DeepLabError(f"There are no images in {folder}.")
    return (resize_image(read_image(path), size) for path in paths)


def convert(options) -> dict:
    """Return the result of `tf_trt.build_saved_model`."""
    reason = tf_trt.missing()
    if reason is not None:
        raise DeepLabError(reason)
    _engines.check_output(options.out)
    gpu = _cudart.open_cuda().gpu()
    precision = _engines.supported_precision(options.precision, gpu, strict=options.strict)
    images = None
    if options.images and precision == "int8":
        _, shape, _ = _tf_trt_convert.image_input(options.model)
        images = read_frames(options.images, shape[1:3])
    return tf_trt.build_saved_model(
        options.model,
        options.out,
        precision,
        calibrate_on_gpu=images is not None,
        images=images,
        rebuild=options.rebuild,
        gpu=gpu,
    )


def main(arguments=None) -> int:
    """Return the exit code: 0, or 1 after one sentence on standard error."""
    try:
        built = convert(parse(arguments))
    except DeepLabError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    how = "is up to date" if built["reused"] else f"built in {built['seconds']:.0f} s"
    outside = ", ".join(f"{count} {kind}" for kind, count in sorted(built["outside"].items())) or "nothing"
    result = "{path}: {precision}, {megabytes:.1f} MB, {how}; engines: {engines}, in TensorFlow: {0}"
    print(result.format(outside, how=how, **built))
    return 0


if __name__ == "__main__":
    sys.exit(main())
