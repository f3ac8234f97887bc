"""`convert` for a bundle: build the engines of this machine."""

import os
from typing import Callable, Optional, Sequence, Tuple

from deeplab_tf.core.bundle import Bundle, open_bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import locked
from deeplab_tf.deploy import conversion

TIMED_SECONDS = 2.0
"""How long each network is timed."""


def convert_bundle(
    path: str,
    *,
    int8: bool = False,
    fp16: bool = False,
    target: Optional[str] = None,
    images: Optional[str] = None,
    labels: Optional[str] = None,
    score_images: int = 50,
    calibrate_on_gpu: bool = False,
    strict: bool = False,
    say: Callable[[str], None] = print,
) -> dict:
    """Build the engines that this machine can run from a bundle, and report on them.

    Args:
        path: the bundle's folder.
        int8, fp16: precision of the engines; neither for float32.
        target: one of `conversion.TARGETS`; all if left out.
        images: a folder, or another source of `stream`, to time and score on.
        labels: a folder with the labels of `images`.
        score_images: how many of them.
        calibrate_on_gpu: let TF-TRT calibrate its engine on `images`.
        strict: refuse where an engine cannot be built as asked, instead of the next best.
        say: called with each line of text for a person.

    Returns:
        The report: `bundle` (its path) and `rows`, see `conversion.Row`.

    Raises:
        DeepLabError: no bundle, no such image, or an engine that cannot be built.
    """
    from deeplab_tf.deploy.compare.labeled_frames import load_frames

    bundle, targets = open_bundle(path), targets_of(target, conversion.TARGETS)
    if calibrate_on_gpu and images is None:
        raise DeepLabError("--calibrate-on-gpu needs real images; name a folder of them with --images.")
    with locked(path):
        frames = None if images is None else load_frames(images, bundle, score_images, labels)
        rows = [row for row in conversion.exported(bundle, {}, {}) if row.target in targets]
        rows = [row for row in rows if row.target not in conversion.BUILT_ON_THE_DEVICE]
        own = {"calibrate_on_gpu": True, "images": list(frames.images)} if calibrate_on_gpu and frames else {}
        rows += conversion.build_engines(bundle, precision(int8, fp16), targets, strict=strict, say=say, **own)
        if frames is not None:
            panoptic = frames.panoptic if bundle.gives_instances else None
            rows = conversion.measured(bundle, rows, frames.images, frames.truth, TIMED_SECONDS, panoptic, frames.whole)
        return report(bundle, rows, say, truth=() if frames is None else frames.truth, built_here=True)


def targets_of(target: Optional[str], default: Sequence[str]) -> Tuple[str, ...]:
    """Return the targets that a name stands for: "all", or one; the default ones for None."""
    if target is None:
        return tuple(default)
    return tuple(conversion.TARGETS) if target == "all" else (target,)


def precision(int8: bool, fp16: bool) -> str:
    """Return the precision that the options ask for."""
    if int8 and fp16:
        raise DeepLabError("Expected INT8 or FP16, not both.")
    return "int8" if int8 else "float16" if fp16 else "float32"


def report(
    bundle: Bundle, rows: Sequence[conversion.Row], say: Callable[[str], None], *, truth=(), built_here: bool = False
) -> dict:
    """Say the table, what is wrong with the label maps `truth`, and the next command; return what --json writes."""
    from deeplab_tf.deploy.compare.scores import about_truth

    warnings = about_truth(truth, bundle.table)
    for sentence in warnings:
        say(f"Warning: {sentence}")
    say(f"\n{conversion.table(rows)}\n")
    height, width = bundle.size
    advice = _not_built(rows) if built_here else ""
    advice = advice or _next_command(bundle, built_here)
    say(f"The bundle is in {bundle.path}: {bundle.output} at {height}x{width}. {advice}")
    return {"bundle": bundle.path, "rows": [dict(row._asdict()) for row in rows], "warnings": warnings}


def _not_built(rows):
    """Return why no engine was built; "" where one was."""
    engines = [row for row in rows if row.target in conversion.BUILT_ON_THE_DEVICE]
    if any(row.megabytes is not None for row in engines):
        return ""
    reasons = [
        f"{row.target} {row.precision}: {row.note.replace(conversion.NOT_HERE, '').rstrip('.')}" for row in engines
    ]
    return f"No engine was built: {'; '.join(reasons) or 'the target needs none'}."


def _next_command(bundle, built_here):
    """Return what to do with the bundle. Engines are built from some of its files only."""
    int8 = any(name in bundle for name in ("model_int8.onnx", "tf_trt/int8"))
    if built_here or not (int8 or "model.onnx" in bundle or "tf_trt/float" in bundle):
        return f"See it at work: deeplab-tf stream {bundle.path} --source sample://"
    folder = os.path.basename(os.path.abspath(bundle.path))
    return f"On the device: deeplab-tf convert {folder} --{'int8' if int8 else 'fp16'}"
