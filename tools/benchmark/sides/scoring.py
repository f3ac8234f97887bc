"""Count mIoU on label maps, frame by frame: ours, cityscapesScripts (as pip installs it: NumPy) and Keras.

Frames are regions of the 34 label ids with ragged outlines, predicted with shifted outlines and 2 % speckle. `result`
is the score, so that sides that count something else are noticed.
"""

import contextlib
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
from worker import named, serve


def make_pair(rng, height, width):
    """Return a (truth, prediction) pair of (H, W) uint8 label ids."""
    coarse = rng.integers(0, 34, (height // 64 + 1, width // 64 + 1)).astype(np.uint8)
    truth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    shift = cv2.resize(rng.normal(0, 12, (height // 16 + 1, width // 16 + 1, 2)).astype(np.float32), (width, height))
    grid = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    truth = cv2.remap(truth, grid + shift, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    prediction = np.roll(truth, (3, 5), axis=(0, 1))
    speckle = rng.random(truth.shape) < 0.02
    prediction[speckle] = rng.integers(0, 34, speckle.sum())
    return truth, prediction


def our_miou(pairs):
    """Count with ConfusionMatrix, on decoded maps."""
    from deeplab_tf.core.cityscapes import CITYSCAPES_TO_CLASS
    from deeplab_tf.core.metrics.confusion import ConfusionMatrix, count_pairs

    def count():
        confusion = ConfusionMatrix(19)
        for truth, prediction in pairs:
            confusion.add_pairs(count_pairs(truth, prediction), CITYSCAPES_TO_CLASS)
        return confusion.miou()

    return count


def their_miou(pairs):
    """Count with cityscapesScripts' evaluatePair, on decoded maps."""
    cityscapes = _cityscapes()
    decoded = {
        name + str(i): _Decoded(label_map) for i, pair in enumerate(pairs) for name, label_map in zip("tp", pair)
    }
    cityscapes.Image.open = decoded.__getitem__  # this process does nothing else
    names = [[name + str(i) for i in range(len(pairs))] for name in "pt"]
    return lambda: cityscapes.evaluateImgLists(*names, cityscapes.args)["averageScoreClasses"]


def keras_miou(pairs):
    """Count with keras.metrics.MeanIoU, after mapping the ids of ignored classes."""
    import keras

    from deeplab_tf.core.cityscapes import CITYSCAPES_TO_CLASS

    mapped = [
        tuple(np.where(CITYSCAPES_TO_CLASS[ids] > 18, 19, CITYSCAPES_TO_CLASS[ids]) for ids in pair) for pair in pairs
    ]

    def count():
        metric = keras.metrics.MeanIoU(20, ignore_class=19)
        for truth, prediction in mapped:
            metric.update_state(truth, prediction)
        return float(metric.result())

    return count


def our_files(pairs):
    """Count with ConfusionMatrix, from PNG files."""
    from deeplab_tf.core.cityscapes import CITYSCAPES_TO_CLASS
    from deeplab_tf.core.metrics.confusion import ConfusionMatrix
    from deeplab_tf.core.metrics.label_folders import count_each, from_sparse
    from deeplab_tf.core.metrics.label_matching import CITYSCAPES_LAYOUT, match

    folder = _write(pairs)
    files = match(CITYSCAPES_LAYOUT, str(folder / "truth"), str(folder / "pred"))

    def count():
        confusion = ConfusionMatrix(19)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress
            for image in count_each(files):
                confusion.add_pairs(from_sparse(image.pairs), CITYSCAPES_TO_CLASS)
        return confusion.miou()

    return count


def their_files(pairs):
    """Count with cityscapesScripts, from PNG files."""
    cityscapes, folder = _cityscapes(), _write(pairs)
    cityscapes.args.predictionPath, cityscapes.args.predictionWalk = str(folder / "pred"), None
    truths = [str(path) for path in sorted((folder / "truth").iterdir())]
    predictions = [cityscapes.getPrediction(cityscapes.args, path) for path in truths]
    return lambda: cityscapes.evaluateImgLists(predictions, truths, cityscapes.args)["averageScoreClasses"]


def _cityscapes():
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as cityscapes

    for name, value in (("evalInstLevelScore", False), ("JSONOutput", False), ("quiet", True)):
        setattr(cityscapes.args, name, value)
    return cityscapes


class _Decoded:
    """A stand-in for PIL's image where cityscapesScripts opens a file, so that only its counting is timed."""

    def __init__(self, array):
        self.array = array
        self.size = array.shape[::-1]

    def __array__(self, dtype=None, copy=None):
        return self.array


def _write(pairs):
    from deeplab_tf.core.image_files import write_image

    _write.folder = tempfile.TemporaryDirectory()  # as long as the process
    folder = Path(_write.folder.name)
    for i, (truth, prediction) in enumerate(pairs):
        write_image(folder / "truth" / f"made_{i:06d}_000000_gtFine_labelIds.png", truth)
        write_image(folder / "pred" / f"made_{i:06d}_000000_labelIds.png", prediction)
    return folder


def prepare(options):
    """Prepare `method`, a function of this file, for `frames` frames of `size`."""
    cv2.setNumThreads(options["threads"])
    rng = np.random.default_rng(0)
    pairs = [make_pair(rng, *options["size"]) for _ in range(options["frames"])]
    methods = (our_miou, their_miou, keras_miou, our_files, their_files)
    count = {each.__name__: each for each in methods}[options["method"]](pairs)
    package = {"their": "cityscapesScripts", "keras": "keras"}.get(options["method"].split("_")[0])
    return {"name": named(options["title"], package), "result": float(count())}, count


if __name__ == "__main__":
    serve(prepare)
