"""What may stand in a bundle.json. Every fault is a DeepLabError that names the file and the key."""

import re
from typing import Dict, Optional, Sequence, Tuple

from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import Value, shown
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.modes import BUNDLE_MODES, MODES

LABEL_STRIDES = (1, 2, 4, 8, 16)
OUTPUTS = ("labels", "logits")
PRECISIONS = ("int8", "float16", "float32")
LAYER_KINDS = ("conv", "conv1x1", "depthwise", "other")
"""See `deploy.budget.workload.KINDS`."""

MAX_SIDE = 1 << 14
MAX_RANGE = 3.4e38
MAX_COUNT = 1 << 53


def size(value: Value) -> Tuple[int, int]:
    """Return height, width."""
    height, width = (side.integer(1, MAX_SIDE) for side in value.rows(2, 2))
    return height, width


def mode(value: Optional[Value]) -> str:
    """Return one of BUNDLE_MODES; "stretch" for a bundle that was written before there were others."""
    return MODES[0] if value is None else value.one_of(BUNDLE_MODES)


def label_ids(value: Optional[Value], classes: int) -> Optional[Dict[int, int]]:
    """Return id in label files -> class id or IGNORE_LABEL."""
    if value is None:
        return None
    found: Dict[int, int] = {}
    for key, each in value.items():
        if not re.match(r"(0|[1-9][0-9]{0,2})$", key) or int(key) > 255:
            raise DeepLabError(f"{value.file}: the keys of label_ids must be ids from 0 to 255; got {shown(key)}.")
        found[int(key)] = IGNORE_LABEL if each.value == IGNORE_LABEL else each.integer(0, classes - 1)
    return found


def digests(value: Value, others: Sequence[str]) -> Dict[str, str]:
    """Return file name -> SHA-256; `others` lie in the bundle's folder and are no such files."""
    for name, digest in value.items():
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or parts[0] in others or not name.isprintable():
            raise DeepLabError(f"{value.file}: files names {shown(name)}, which is no file below the bundle's folder.")
        if not isinstance(digest.value, str) or not re.match(r"[0-9a-f]{64}$", digest.value):
            raise digest.wrong("a SHA-256 of 64 digits")
    return dict(value.mapping())


def check_rest(whole: Value) -> None:
    """Check the keys that only some commands use."""
    precisions = whole.get("precision")
    for each in precisions.rows(1, len(PRECISIONS)) if precisions else ():
        each.one_of(PRECISIONS)
    sections = {key: whole.get(key) for key in ("scores", "versions", "data")}
    for section in filter(None, sections.values()):
        section.mapping()
    if sections["data"] and sections["data"].value:
        sections["data"]["name"].text()
    ranges, layers, calibration = (whole.get(key) for key in ("ranges", "layers", "calibration"))
    for _, limit in ranges.items() if ranges else ():
        limit.number(0, MAX_RANGE)
    for row in layers.rows(1) if layers else ():
        row["name"].text()
        row["kind"].one_of(LAYER_KINDS)
        for key in ("macs", "weights", "reads", "writes"):
            row[key].integer(0, MAX_COUNT)
        row.only("name", "kind", "macs", "weights", "reads", "writes")
    if calibration:
        calibration["method"].one_of(METHODS)
        calibration["frames"].integer(0, MAX_COUNT)
        calibration["trained"].flag()
        for layer in calibration["float_layers"].rows():
            layer.text()
        for _, agreement in calibration["agreement"].items():
            agreement.number(0, 1)
