"""Convert a run to a bundle: what `deeplab-tf convert RUN` and `deeplab_tf.convert` do."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.bundle import Bundle, check_run_or_bundle, check_target, new_bundle, open_bundle
from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import locked
from deeplab_tf.core.modes import BUNDLE_MODES
from deeplab_tf.core.tables import number
from deeplab_tf.deploy import conversion, convert_bundle
from deeplab_tf.lab.export import bundle_writer
from deeplab_tf.lab.export.bundle_writer import ExportOptions
from deeplab_tf.lab.export.calibration import HELD_OUT, load
from deeplab_tf.lab.export.run_frames import ScoringFrames, calibration_frames, scoring_frames
from deeplab_tf.lab.export.verify import label_stride_costs, largest_differences
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime, open_run

OUTPUTS = ("labels", "logits")
COMPARED_FRAMES = 2
"""Frames on which logits are compared with Keras'."""


def convert_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    fp16: bool = False,
    target: str | None = None,
    images: str | None = None,
    labels: str | None = None,
    root: str | None = None,
    checkpoint: str | int | None = None,
    size: tuple[int, int] | None = None,
    mode: str = "stretch",
    output: str = "labels",
    label_stride: int = 1,
    calibration: str | None = None,
    calibration_images: int = 100,
    score_images: int = 50,
    calibrate_on_gpu: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict:
    """Convert a run to a bundle, build engines where there is a GPU, and report on all of them.

    Args:
        run: the folder that `train` wrote.
        out: where the bundle goes; RUN/bundle where left out. A bundle that is there is replaced, if its folder holds
            nothing else.
        int8: also write the INT8 network, calibrated on real images.
        fp16: build FP16 engines where there is a GPU.
        target: one of `conversion.TARGETS`, or "all"; all but "litert" if left out.
        images: a folder of images to calibrate on, in place of the run's training images.
        labels: a folder with the labels of `images`, to score on, in place of the run's val split.
        root: where the run's dataset lies now, if not where its recipe says.
        checkpoint: a saved step, "last" or "best", the default.
        size: height, width that the network will take; the run's own where left out.
        mode: what the bundle does with images of another size: "stretch", "pad" or "slide"; see `deeplab_tf.load`.
        output: "labels" or "logits".
        label_stride: stride of the output label map, in input pixels: 1, 4 or 8.
        calibration: "min-max", "percentile" or "entropy"; where left out, the one that agrees best with FP32 or, after
            quantization-aware training, the ranges of the training.
        calibration_images, score_images: how many images to calibrate and to score on.
        calibrate_on_gpu: also let TF-TRT calibrate its engine itself.
        strict: refuse where an engine cannot be built as asked, instead of the next best.
        overwrite: replace a bundle whose files were changed by hand, too.
        say: called with each line of text for a person.

    Returns:
        What --json writes: `bundle` (its path), `rows` (see `conversion.Row`; the first is the Keras network),
        `label_stride` (mIoU and time of each), `calibration`, and `images`, how many of `images_available` were scored.

    Raises:
        DeepLabError: options that exclude each other, no such run or image, or a network that cannot be exported.
    """
    run, out = os.fspath(run), os.fspath(out or Path(run, "bundle"))
    check_run_or_bundle(run)
    check_target(out, overwrite=overwrite)
    _check(target, output, mode, calibration, int8, calibrate_on_gpu, images, labels)
    precision = convert_bundle.precision(int8, fp16)
    targets = convert_bundle.targets_of(target, conversion.DEFAULT_TARGETS)
    with locked(out):
        keras = open_run(run, checkpoint)
        keras.mode = mode
        size = size or keras.size
        trained = load(run) if int8 and calibration is None else None
        if trained and images is not None and labels is None and not calibrate_on_gpu:
            raise DeepLabError(
                f"The run {run} was trained with its INT8 ranges, and images would not be read: leave them out, or "
                "pass calibration= to calibrate on them."
            )
        scored = scoring_frames(
            keras, keras.table, size, score_images, images=images if labels else None, labels=labels, root=root
        )
        frames: list[np.ndarray] = []
        if int8 and not trained or calibrate_on_gpu:
            count = calibration_images + HELD_OUT
            frames = list(calibration_frames(keras, size, count, images=images, root=root))
        options = ExportOptions(size, output, label_stride, targets, int8, calibration, calibration_images)
        written = _write_bundle(new_bundle(out, overwrite=overwrite), keras, options, scored, frames, trained)
        bundle = open_bundle(out)
        rows = conversion.exported(bundle, written.info["seconds"], written.differences)
        if fp16 or int8:
            own = {"calibrate_on_gpu": True, "images": frames} if calibrate_on_gpu else {}
            engines = conversion.build_engines(bundle, precision, targets, strict=strict, say=say, **own)
            rows += [row for row in engines if fp16 or not row.note.startswith("no engine")]
        panoptic = scored.panoptic if keras.gives_instances else None
        seconds = convert_bundle.TIMED_SECONDS
        whole = scored.whole if mode != "stretch" else None
        measured = conversion.measured(bundle, rows, scored.images, scored.truth, seconds, panoptic, whole=whole)
        _say_calibration(bundle, say)
        _say_scores(written, options, scored, say)
        report = convert_bundle.report(bundle, [written.keras, *measured], say, truth=scored.truth)
        counts = {"images": len(scored.images), "images_available": scored.available}
        return {"label_stride": written.costs, "calibration": written.info.get("calibration"), **counts, **report}


def _check(target, output, mode, calibration, int8, calibrate_on_gpu, images, labels):
    for name, value, choices in (
        ("target", target, (None, "all", *conversion.TARGETS)),
        ("output", output, OUTPUTS),
        ("mode", mode, BUNDLE_MODES),
        ("calibration", calibration, (None, *METHODS)),
    ):
        if value not in choices:
            raise DeepLabError(f"There is no {name} '{value}'. {did_you_mean(value, filter(None, choices))}")
    if calibration and not int8:
        raise DeepLabError("calibration needs int8: float networks are not calibrated.")
    if calibrate_on_gpu and not int8:
        raise DeepLabError("calibrate_on_gpu needs int8: float networks are not calibrated.")
    if labels is not None and images is None:
        raise DeepLabError("labels are those of images; name both folders.")
    if images is not None and labels is None and not int8:
        raise DeepLabError("images would not be read: they go with int8, to calibrate on, or with labels, to score on.")


class _Written(NamedTuple):
    info: dict  # of bundle.json, and `seconds`
    keras: conversion.Row
    costs: list[dict]  # by label stride
    differences: dict[str, float]


def _write_bundle(folder, keras: KerasRuntime, options, scored: ScoringFrames, frames, trained) -> _Written:
    with folder as part:
        info = bundle_writer.write(part, keras.model, keras.table, options, frames, trained)
        reference, costs = label_stride_costs(
            keras, scored.whole, scored.truth, scored.panoptic, output=options.output, size=options.size
        )
        compared = scored.images[:COMPARED_FRAMES]
        differences = largest_differences(part, keras.model, compared, options.label_stride)
        scores = {
            "miou_by_label_stride": {str(cost["label_stride"]): cost["miou"] for cost in costs},
            "images": len(scored.images),
        }
        if info["instances"]:
            scores["pq"] = reference.pq
        info["mode"] = keras.mode
        info["label_ids"] = scored.label_ids
        bundle_writer.finish(part, info, scores, keras.data)
    return _Written(info, reference, costs, differences)


def _say_calibration(bundle: Bundle, say):
    found = bundle.info.get("calibration")
    if not found:
        return
    if found["trained"]:
        say(f"Ranges: those of quantization-aware training ({found['method']} on {found['frames']} images).")
        return
    instances = bundle.gives_instances
    scores = ", ".join(
        f"{name} {value:.4f}" if instances else f"{name} {value:.2%}" for name, value in found["agreement"].items()
    )
    chosen = ", ".join([found["method"], *(f"{name} in float" for name in found["float_layers"])])
    measure = "PQ against FP32" if instances else "Pixel agreement with FP32"
    say(f"Calibration: {chosen} on {found['frames']} images. {measure}: {scores}.")


def _say_scores(written, options, scored, say):
    """Say what was scored on which images, and why a bundle of labels has another mIoU than its run."""
    costs = ", ".join(
        f"{cost['label_stride']}: {number(cost['miou'], '{:.4f}')} in {cost['ms']:.0f} ms" for cost in written.costs
    )
    images = f"{len(scored.images)} of {scored.available} images"
    say(f"mIoU on {images} and time per frame in TensorFlow, by label stride: {costs}. Chosen: {options.label_stride}.")
    if options.output == "labels" and any(each.shape != options.size for each in scored.truth):
        say(
            f"The run itself has mIoU {number(written.keras.miou, '{:.4f}')} on these images, as `evaluate` counts it: "
            "its probabilities are resized to the labels' size. A bundle of labels has none (see --output logits)."
        )
