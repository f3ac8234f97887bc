"""Semantic and panoptic segmentation with DeepLabV3+, from training in Keras to real-time video.

    import deeplab_tf

    model = deeplab_tf.load("demo/bundle")           # a bundle that `convert` wrote, or a run that `train` wrote
    result = model.predict("street.jpg")             # a path, an RGB array, a batch or an iterator
    print(result.label_map.shape, result.class_shares())
    result.save("overlay.jpg")

`load` and `open_video` need NumPy and OpenCV and, for bundles, one runtime such as ONNX Runtime; they work from
Python 3.6 on. `build_model`, `train`, `evaluate` and `convert` need Python 3.11 and TensorFlow, as in
pip install '.[train]'. Importing the package imports none of them. The command line `deeplab-tf` runs the same code.

`load` returns a `deeplab_tf.deploy.model.Model`, whose `predict` returns a `Result`. Wrong data, files or options raise
`deeplab_tf.DeepLabError`, with a sentence that says what to do.
"""

import json as _json
import os as _os
import sys as _sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Union

from deeplab_tf.core import __version__
from deeplab_tf.core.errors import DeepLabError as DeepLabError  # public, but its help is that of any exception

if TYPE_CHECKING:
    from deeplab_tf.deploy.model import Model
    from deeplab_tf.deploy.video.reader import VideoReader

__all__ = ["__version__", "build_model", "convert", "evaluate", "load", "open_video", "train"]

_Path = Union[str, _os.PathLike]


def load(
    path: _Path,
    runtime: str = "auto",
    precision: Optional[str] = None,
    checkpoint: Union[str, int, None] = None,
    *,
    mode: Optional[str] = None,
    overlap: Optional[float] = None,
) -> "Model":
    """Load a trained network.

    Args:
        path: a bundle, as `convert` writes it, or a run folder, as `train` does.
        runtime: of a bundle: "tensorrt", "tf_trt", "onnx" or "saved_model"; "auto" is the preferred one that works
            here, on a processor ONNX Runtime.
        precision: of a bundle: "int8", "float16" or "float32"; the best that the bundle holds if left out.
        checkpoint: of a run: a saved step, "last" or "best", the default.
        mode: how images of other sizes are put before the network; as `convert` wrote it, or "stretch", if left out.
            "stretch": resized to its size. "pad": resized to fit into it, and padded. "slide": windows of its size over
            the whole image, blended. "keep_aspect", "native", for runs: resized to fit into its size; not resized.
        overlap: of windows in the mode slide: the least share of a window that its neighbor covers, too; 0 to 0.9.

    Returns:
        A `deeplab_tf.deploy.model.Model`, which predicts images of any size and is a context manager.

    Raises:
        DeepLabError: no bundle or run at `path`, or no such runtime, precision, checkpoint or mode.

    Example:
        model = deeplab_tf.load("demo/bundle", runtime="onnx", precision="int8")
        result = model.predict("street.jpg")
        result.save("overlay.jpg")
    """
    from deeplab_tf.core.bundle import check_run_or_bundle, is_bundle, open_bundle
    from deeplab_tf.deploy.model import Model

    path = _os.fspath(path)
    if is_bundle(path) and checkpoint is None:
        from deeplab_tf.deploy.runtimes import open_runtime as open_bundle_runtime

        predictor: Any = open_bundle_runtime(open_bundle(path), runtime, precision)
    else:
        check_run_or_bundle(path)
        _need_lab(f"{path} is a run, which")
        from deeplab_tf.lab.runs import open_runtime

        predictor = open_runtime(path, checkpoint, None if runtime == "auto" else runtime, precision)
    from deeplab_tf.core.fitting import choose_mode

    choose_mode(predictor, mode, overlap)
    return Model(predictor)


def open_video(uri: str, *, paced: bool = False, retries: Optional[int] = None) -> "VideoReader":
    """Open a camera, a stream, a video file, a folder of images or drawn streets.

    Args:
        uri: as in `deeplab-tf stream --source`: "0" or "/dev/video0" (USB camera), "csi://0" (a Jetson's camera),
            "rtsp://..." or "http://...", a video file, a folder of images, "sample://" (drawn streets),
            "@FILE" (one of these in a file that only its owner can read).
        paced: play a file at its own speed, and drop frames that come too fast, as a camera does.
        retries: how often in a row a lost camera is reconnected; no limit by default.

    Returns:
        A `deeplab_tf.deploy.video.reader.VideoReader`: an iterator of (H, W, 3) uint8 RGB frames and a context manager,
        with `fps` and `total` where they are known.

    Raises:
        DeepLabError: a wrong URI, a missing or damaged file, a camera that cannot be opened.

    Example:
        with deeplab_tf.open_video("street.mp4") as video:
            for result in model.predict(video):
                print(result.class_shares())
    """
    from deeplab_tf.deploy.video.reader import VideoReader
    from deeplab_tf.deploy.video.sources import open_source

    return VideoReader(open_source(uri, paced=paced, retries=retries))


def build_model(name: str, num_classes: int, **options: Any) -> Any:
    """Build a network with new weights.

    Args:
        name: "deeplab_v3_plus", "lr_aspp" or "panoptic_deeplab".
        num_classes: number of classes C.
        options: of the network, such as `backbone`, `size`, `output_stride`, `width` and `precision`; see
            `deeplab_tf.lab.models`.

    Returns:
        A Keras model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary with `logits` (B, H, W, C) and, for
        "panoptic_deeplab", `center` (B, H, W, 1) and `offset` (B, H, W, 2).

    Raises:
        DeepLabError: no such network, option or backbone, or a value out of range.

    Example:
        model = deeplab_tf.build_model("deeplab_v3_plus", 19, backbone="mobilenet_v3_large", size=(512, 1024))
        model.summary()
    """
    _need_lab("Building a network")
    from deeplab_tf.lab.models.registry import load_network

    network = load_network(name)
    _check_options(f"network {name}", network, options)
    return network(num_classes, **options)


def train(
    recipe: Union[_Path, Dict[str, Dict[str, Any]]],
    *,
    run: Optional[_Path] = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    **overrides: Dict[str, Any],
) -> Dict[str, Any]:
    """Train a network by a recipe.

    Args:
        recipe: the path of a YAML file, such as those in configs/, or its sections as a dictionary.
        run: the run folder to write; runs/NAME after the recipe's file name if left out.
        resume: continue an interrupted run.
        callbacks: Keras callbacks of your own. The training is one epoch: use `on_train_batch_end(batch, logs)`;
            `logs["loss"]` is the loss of that step. Each validation calls `on_test_end(logs)` with `miou`,
            `pixel_accuracy` and, for instances, `pq`. `self.model.stop_training = True` ends the run, scored and saved.
        overrides: sections of the recipe with values that override its own.

    Returns:
        `run` (its path), `step`, `best_miou` or `best_pq` (None where no score is defined), `digest` (of all weights
        and the optimizer's state), and `warnings` about the data.

    Raises:
        DeepLabError: a wrong recipe, bad data, or a folder that holds another run.

    Example:
        result = deeplab_tf.train("configs/camvid_resnet50_small.yaml", run="runs/first",
                                  data={"root": "camvid"}, training={"steps": 1000, "batch_size": 8})
        print(result["best_miou"])
    """
    _need_lab("Training")
    from pathlib import Path

    from deeplab_tf.lab.config import load as load_recipe
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.training.fit import train as fit

    if isinstance(recipe, dict):
        if run is None:
            raise DeepLabError("Name the run folder with run=DIR: a dictionary has no file name to take it from.")
        sections = {**recipe, **{name: {**recipe.get(name, {}), **values} for name, values in overrides.items()}}
        config = resolve(_json.loads(_json.dumps(sections, default=_os.fspath)), to_train=True)
    else:
        values = ((f"{name}.{key}", value) for name, section in overrides.items() for key, value in section.items())
        texts = (f"{key}={_json.dumps(value, default=_os.fspath, ensure_ascii=False)}" for key, value in values)
        config = load_recipe(Path(recipe), list(texts), to_train=True)
        run = Path("runs", Path(recipe).stem) if run is None else run
    file = None if isinstance(recipe, dict) else Path(recipe)
    return {"run": str(run), **fit(config, Path(run), recipe=file, resume=resume, callbacks=callbacks)}


def evaluate(
    path: _Path,
    *,
    checkpoint: Union[str, int, None] = None,
    runtime: Optional[str] = None,
    precision: Optional[str] = None,
    split: Any = "val",
    root: Optional[str] = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    mode: Optional[str] = None,
    overlap: Optional[float] = None,
    images: Optional[str] = None,
    labels: Optional[str] = None,
    class_ids: bool = False,
    out: Optional[_Path] = None,
    overwrite: bool = False,
) -> Dict[str, Any]:
    """Score a run or a bundle on labeled images, at the labels' own resolution.

    Args:
        path: the run or the bundle.
        checkpoint: of a run: a saved step, "last" or "best", the default.
        runtime, precision: of a bundle, as for `load`.
        split: a split of the dataset that the network was trained on, or a `deeplab_tf.lab.data.split.Split` of your
            own.
        root: where the dataset lies now, if not where the recipe says.
        flip, scales: average over the mirrored image and over these factors of the network's size.
        mode, overlap: as for `load`.
        images, labels: folders to score on in place of a split; files are paired by name.
        class_ids: the files in `labels` hold class ids 0 to C-1, and not ids or colors as in the dataset.
        out: write the report here: report.json, report.md and figures. Nothing is written if left out.
        overwrite: replace files of these names that `evaluate` did not write.

    Returns:
        The report of `deeplab-tf evaluate --json`: `miou`, `iou` (name -> value or None), `pixel_accuracy`, `images`
        and, where the data has instances, `pq`, `sq`, `rq`, `pq_per_class`, `pq_things`, `pq_stuff`. Scores are
        fractions.

    Raises:
        DeepLabError: no such run, checkpoint, runtime or data, or labels of other classes.

    Example:
        report = deeplab_tf.evaluate("runs/camvid", split="test", flip=True)
        print(report["miou"], report["iou"]["road"])
    """
    _need_lab("Evaluation")
    from deeplab_tf.core.guard import Guard
    from deeplab_tf.lab.evaluation.evaluate_run import evaluate_run

    if (images is None) != (labels is None):
        raise DeepLabError("images and labels go together; name both folders.")
    with Guard("evaluate", overwrite=overwrite) as guard:
        return evaluate_run(
            _os.fspath(path),
            [checkpoint],
            runtime=runtime,
            precision=precision,
            split=split,
            root=root,
            flip=flip,
            scales=scales,
            mode=mode,
            overlap=overlap,
            images=images,
            labels=labels,
            class_ids=class_ids,
            out=None if out is None else _os.fspath(out),
            guard=guard,
        )


def convert(path: _Path, out: Optional[_Path] = None, **options: Any) -> Dict[str, Any]:
    """Convert a run to a bundle, the folder that every runtime loads; or build the engines of a bundle on a device.

    Args:
        path: the run, as `train` wrote it; or, on a device, the bundle.
        out: the bundle to write; RUN/bundle if left out. Not for a bundle.
        options: those of `deeplab-tf convert`: of a run `int8=True` (quantize, calibrated on real images),
            `output="logits"` (for class probabilities), `label_stride=4`, `images=DIR` (to calibrate on), `size=(512,
            1024)`, `target="onnx"` and others, see `deeplab_tf.lab.export.convert.convert_run`; of a bundle `int8=True`
            or `fp16=True` and others, see `deeplab_tf.deploy.convert_bundle.convert_bundle`.

    Returns:
        `bundle` (its path) and `rows`: size, difference from Keras, mIoU and frames/s of each network in it.

    Raises:
        DeepLabError: no such run or image, options that exclude each other, a network that cannot be converted.

    Example:
        report = deeplab_tf.convert("runs/camvid", "camvid_bundle", int8=True)
        model = deeplab_tf.load(report["bundle"])
    """
    from deeplab_tf.core.bundle import is_bundle

    path = _os.fspath(path)
    if is_bundle(path):
        from deeplab_tf.deploy.convert_bundle import convert_bundle

        if out is not None:
            raise DeepLabError(f"{path} is a bundle, whose engines are built into it; omit out={_os.fspath(out)!r}.")
        _check_options("conversion of a bundle", convert_bundle, options)
        return convert_bundle(path, **options)
    _need_lab("Converting a run")
    from deeplab_tf.lab.export.convert import convert_run

    _check_options("conversion of a run", convert_run, options)
    return convert_run(path, None if out is None else _os.fspath(out), **options)


def _need_lab(what):
    """Raise DeepLabError where the lab cannot run; TensorFlow, which comes next, must not fill the terminal."""
    if _sys.version_info < (3, 11):
        raise DeepLabError(f"{what} needs Python 3.11 or 3.12 and TensorFlow, as on the machine that trains.")
    _os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _check_options(what: str, function: Callable, options: Dict[str, Any]) -> None:
    """Raise DeepLabError, saying what was meant, for an option that a function does not have."""
    import inspect

    from deeplab_tf.core.errors import did_you_mean

    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise DeepLabError(f"The {what} has no option '{name}'. {did_you_mean(name, known)}")
