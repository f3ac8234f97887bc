"""Which label files of two folders belong together."""

import os
from typing import Dict, List, Optional, Tuple

from deeplab_tf.core.cityscapes import LABEL_SUFFIX, frame_of
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import each_image
from deeplab_tf.core.metrics.pairs import common_names
from deeplab_tf.core.parts import WHOLE, NamesAndSizes, Part

CITYSCAPES_LAYOUT, IDS_LAYOUT = LAYOUTS = ("cityscapes", "ids")
"""How label files are named, and which ids they hold: see `match_cityscapes` and `match_stems`."""

Files = List[Tuple[str, str]]
"""(truth, prediction) paths."""


def match(
    layout: str, truth: str, prediction: str, *, part: Part = WHOLE, seen: Optional[NamesAndSizes] = None
) -> List[Tuple[str, str, str]]:
    """Pair the files of two folders.

    Args:
        layout: CITYSCAPES_LAYOUT for `match_cityscapes`, IDS_LAYOUT for `match_stems`.
        truth, prediction: the folders.
        part: of the images; only its own are paired, kept in memory, and checked.
        seen: gets all files of both folders that are labels of an image.

    Returns:
        Name of the image, its truth and its prediction, sorted by name; empty only for a part.

    Raises:
        DeepLabError: as `match_cityscapes` and `match_stems` do.
    """
    name_in = _frame_name if layout == CITYSCAPES_LAYOUT else _stem_name
    sides: List[Dict[str, List[str]]] = []
    found = 0
    for is_truth, folder in ((True, truth), (False, prediction)):
        sides.append({})
        for path in each_image(folder, recursive=True):
            name = name_in(path, folder, is_truth)
            if name is None:
                continue
            found += is_truth
            if seen is not None:
                seen.add(name, os.path.getsize(path), truth=is_truth)
            if part.has(name):
                sides[-1].setdefault(name, []).append(path)
    if not found and layout == CITYSCAPES_LAYOUT:
        raise DeepLabError(f"No *{LABEL_SUFFIX} below {truth}; name the gtFine folder, or pass --format ids.")
    if not found:
        raise DeepLabError(f"No PNG file in {truth}; --truth names the folder with the true label files.")
    true, predicted = sides
    if layout == CITYSCAPES_LAYOUT:
        predicted = {
            frame: [path for path in paths if path.endswith("labelIds.png")] or paths
            for frame, paths in predicted.items()
        }
    return _pairs(true, predicted, truth, prediction)


def match_cityscapes(truth: str, prediction: str) -> Files:
    """Pair every *_gtFine_labelIds.png anywhere below `truth` with the PNG file of the same frame below `prediction`.

    Of several predictions of a frame the one that ends in labelIds.png is taken.

    Raises:
        DeepLabError: no truth, or a frame with no prediction, no truth, or several predictions.
    """
    return [(true, predicted) for _, true, predicted in match(CITYSCAPES_LAYOUT, truth, prediction)]


def match_stems(truth: str, prediction: str) -> Files:
    """Pair the PNG files that have the same name in both folders, or in the same subfolder of both.

    Raises:
        DeepLabError: no truth, or an image that has no partner.
    """
    return [(true, predicted) for _, true, predicted in match(IDS_LAYOUT, truth, prediction)]


def _frame_name(path, folder, is_truth):
    """Return the frame of a label file of Cityscapes; None for another file."""
    frame = frame_of(path)
    if not is_truth:
        return frame if path.lower().endswith(".png") else None
    if not path.endswith(LABEL_SUFFIX):
        return None
    if frame is None:
        raise DeepLabError(f"{path} is not named city_sequence_frame{LABEL_SUFFIX}, as Cityscapes' files are.")
    return frame


def _stem_name(path, folder, is_truth):
    """Return the name below the folder without suffix; None for a JPEG, which is no label file, but an overlay, say."""
    return os.path.splitext(os.path.relpath(path, folder))[0] if path.lower().endswith(".png") else None


def _pairs(truths, predictions, truth, prediction):
    true, predicted = ({name: _only(paths) for name, paths in side.items()} for side in (truths, predictions))
    return [
        (name, true[name], predicted[name]) for name in common_names(true, predicted, truth, prediction, empty=True)
    ]


def _only(paths):
    if len(paths) > 1:
        first, second = sorted(paths)[:2]
        raise DeepLabError(f"Two label files for one frame: {first} and {second}; leave one.")
    return paths[0]
