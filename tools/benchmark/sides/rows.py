"""The rows of the comparison: each has two sides, ours and a peer's."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
TORCH, HUB = ".venv-peers", ".venv-keras-hub"
INSTALLED_BY = {TORCH: "sh tools/environments/peers.sh torch", HUB: "sh tools/environments/peers.sh keras-hub"}
OPENVINO = (
    "OpenVINO fuses the addition of a residual block into the INT8 convolution, and computes the rest in bfloat16"
)
"""Why OpenVINO is faster than ONNX Runtime on a CPU, which does neither."""
FLOAT_ENDS = "ONNX Runtime is slow at both ends of the network, which channels_last.py rewrites in the INT8 file only"
"""ArgMax, resizing, reordering, the sum of image and mean: half of the difference by ONNX Runtime's profile."""


class Side(NamedTuple):
    """One side of a row.

    Attributes:
        title: name in the table.
        program: a file of this folder.
        options: options of the program, beside those that all get.
        environment: folder of its Python environment; ours if empty.
        needs: module that must be installed there.
        bundle: network of NETWORKS that it runs, or "".
    """

    title: str
    program: str
    options: dict
    environment: str = ""
    needs: str = ""
    bundle: str = ""


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        unit: what a time stands for.
        agree: largest difference of both sides' `result`; None if they have none.
        scale: units in a repetition, such as its number of frames.
        why: what makes the peer faster, if it is.
    """

    name: str
    what: str
    ours: Side
    peer: Side
    unit: str = "a frame"
    agree: float | None = None
    scale: float = 1.0
    why: str = ""


NETWORKS = {
    "dense": {"model": {"separable": False}, "int8": True},
    "separable": {"model": {"separable": True}, "int8": False},
    "stride32": {"model": {"separable": False, "output_stride": 32}, "int8": False},
}
"""Bundles that sides run: DeepLabV3+ on ResNet-50, 19 classes."""


def rows(options):
    """Return every row, for options with `batch`, `frames` and `quick`."""
    return [*inference(), *training(options), *reading(options), *scoring(options)]


def inference():
    """Return rows of inference: single frames, from uint8 or float pixels to a label map."""

    def ours(network, precision, runtime="onnx", title="ours"):
        options = {"task": "frame", "precision": precision, "runtime": runtime}
        return Side(f"{title}, {precision}", "ours", options, bundle=network)

    def vino(precision, files, **more):
        return Side("OpenVINO, " + precision, "vino", {"files": files, **more}, TORCH, "openvino", "dense")

    stock = {"task": "frame", "precision": "float32", "separable": False}
    keras = Side("Keras, float32", "stock_keras", stock)
    hub = Side("keras-hub, float32", "hub_deeplab", {"task": "frame", "precision": "float32"}, HUB, "keras_hub")
    smp = Side(
        "smp, float32", "smp_deeplab", {"task": "frame", "precision": "float32"}, TORCH, "segmentation_models_pytorch"
    )
    files = ("model_int8_cpu.onnx", "model_int8.onnx")
    return [
        Row(
            "int8-openvino",
            "ResNet-50, dense, INT8: the same network, in the file that is faster for each",
            ours("dense", "int8", "auto", "ours, the fastest runtime here"),
            vino("int8", files),
            why=OPENVINO,
        ),
        Row(
            "int8-litert",
            "the same, in ONNX Runtime against LiteRT",
            ours("dense", "int8"),
            ours("dense", "int8", "litert", "LiteRT"),
        ),
        Row("int8-keras", "the same, against Keras in float32", ours("dense", "int8"), keras),
        Row("float-keras", "ResNet-50, dense", ours("dense", "float32"), keras),
        Row(
            "float-openvino",
            "ResNet-50, dense, the same file",
            ours("dense", "float32"),
            vino("float32", ("model.onnx",), hint="f32"),
            why=FLOAT_ENDS,
        ),
        Row("float-smp", "ResNet-50, separable", ours("separable", "float32"), smp),
        Row(
            "float-keras-hub",
            "ResNet-50, output stride 32; keras-hub's decoder is a 1x1 convolution",
            ours("stride32", "float32"),
            hub,
        ),
    ]


def training(options):
    """Return rows of training: steps on a batch in memory, forward, backward, Adam."""

    def side(title, program, environment="", needs="", **more):
        return Side(title, program, {"task": "step", "precision": "mixed_bfloat16", **more}, environment, needs)

    width = {"width": 0.125} if options["quick"] else {}
    separable = side("ours, bfloat16", "ours", model={"separable": True, **width})
    stride32 = side("ours, bfloat16", "ours", model={"separable": False, "output_stride": 32, **width})
    smp = side("smp, bfloat16", "smp_deeplab", TORCH, "segmentation_models_pytorch")
    made = [
        Row(
            "training-keras", "ResNet-50, separable", separable, side("Keras, bfloat16", "stock_keras", separable=True)
        ),
        Row("training-smp", "ResNet-50, separable", separable, smp),
        Row(
            "training-keras-hub",
            "ResNet-50, output stride 32",
            stride32,
            side("keras-hub, bfloat16", "hub_deeplab", HUB, "keras_hub"),
        ),
    ]
    return [row._replace(unit="an image", scale=options["batch"]) for row in made]


def reading(options):
    """Return rows of reading: every frame once, through tf.data."""

    def side(title, method):
        return Side(title, "reading", {"method": method, "title": title})

    stock = side("tf.data's PNG", "stock")
    made = [
        Row("reading-files", "PNG files of 1024x2048, to 512x1024", side("ours", "files"), stock),
        Row(
            "reading-augmented",
            "the same, flipped, rotated, scaled, color-jittered and cropped",
            side("ours, augmented", "augmented"),
            side("Keras' layers", "stock_augmented"),
        ),
        Row("reading-records", "the same frames, prepared once", side("ours, prepared", "records"), stock),
    ]
    return [row._replace(unit="an image", scale=options["frames"]) for row in made]


def scoring(options):
    """Return rows of scoring: label maps of 1024x2048, unless a row says otherwise."""

    def side(title, method, program="scoring"):
        return Side(title, program, {"method": method, "title": title})

    scripts = "cityscapesScripts"
    made = [
        Row(
            "miou-cityscapesscripts",
            "mIoU, decoded maps",
            side("ours", "our_miou"),
            side(scripts, "their_miou"),
            agree=1e-9,
        ),
        Row(
            "miou-files",
            "mIoU, PNG files; ours decodes on every core",
            side("ours", "our_files"),
            side(scripts, "their_files"),
            agree=1e-9,
        ),
        Row(
            "miou-keras",
            "mIoU, decoded maps; Keras counts ignored pixels as a class",
            side("ours", "our_miou"),
            side("Keras", "keras_miou"),
        ),
        Row(
            "pq-cityscapesscripts",
            "PQ, decoded maps",
            side("ours", "our_pq", "panoptic"),
            side(scripts, "their_pq", "panoptic"),
            agree=1e-9,
        ),
        Row(
            "grouping",
            "pixels of 512x1024 into 50 instances; the peer only finds the nearest center, from all distances",
            side("ours", "our_grouping", "panoptic"),
            side("NumPy", "distances_grouping", "panoptic"),
        ),
    ]
    return [row._replace(scale=options["frames"]) for row in made]
