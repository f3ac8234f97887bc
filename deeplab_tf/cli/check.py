"""`deeplab-tf check`: a dataset examined before a network is trained on it."""

import os

import click

from deeplab_tf.cli.options import PathType, example, json_option, new_guard, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import counted, duration
from deeplab_tf.core.tables import text_table

NEEDS = ("numpy", "cv2", "lab")

SHOWN = 20
"""Faults of each level that are printed; all are in the JSON report."""


@click.command(
    epilog=example(
        "deeplab-tf check configs/camvid_slim.yaml --set data.root=CAMVID",
        "deeplab-tf check RECIPE --time --json check.json",
    )
)
@click.argument("config", type=PathType(dir_okay=False))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."
)
@click.option(
    "--out", metavar="DIR", type=PathType(file_okay=False), default="checks", show_default=True,
    help="Write the sheet of images, NAME.png, here.",
)  # fmt: skip
@click.option(
    "--time",
    "timed",
    is_flag=True,
    help="Take the first steps of the training, with TensorFlow: time a step and to the end, memory, and whether the "
    "crop suits the network. Takes a minute.",
)
@json_option
@verbose_option
def command(config, overrides, out, timed, json_target, verbose):
    """Examine the dataset of the recipe CONFIG before a training.

    Reads every image and label of train and val, without TensorFlow: files that cannot be read or do not match, all of
    them; the share of each class; classes that are absent or below 0.1 %; labels that are ignored altogether; images
    that are the same or nearly (saved again, cropped by a few percent), within and across the splits. Exit code 1 if
    `train` would stop.
    """
    from deeplab_tf.core.image_files import write_image
    from deeplab_tf.lab.checks.faults import find_faults, groups_of
    from deeplab_tf.lab.checks.report import summary
    from deeplab_tf.lab.checks.scan import scan
    from deeplab_tf.lab.checks.sheet import draw_sheet
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.data import places

    if not os.path.isfile(config):
        raise DeepLabError(f"There is no recipe {config}; those that come with deeplab_tf are in configs/.")
    data = load(config, overrides, network=False).data
    sheet = os.path.join(out, os.path.splitext(os.path.basename(config))[0] + ".png")
    guard = new_guard(json_target)
    guard.reads(config, *places(data))
    guard.fills(out, "--out", [sheet])
    guard.check()
    scans = {name: scan(data, name) for name in ("train", "val")}
    groups = groups_of(scans)
    faults = find_faults(scans, groups, data)
    report = summary(scans, faults, groups)
    drawn = draw_sheet(scans)
    with guard:
        if drawn is not None:
            write_image(sheet, drawn)
    report = {"recipe": config, **report, "sheet": None if drawn is None else sheet}
    _show(report, json_target)
    errors = sum(fault.level == "error" for fault in faults)
    if timed and not errors:
        report["time"] = _time(config, overrides, scans, json_target)
    write_json(report, json_target)
    if errors:
        raise DeepLabError(f"{counted(errors, 'errors')}: a training on this data would stop.")


def _time(config, overrides, scans, json_target):
    """Take a few steps of the training, and show and return what all will take."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.training.estimate import crop_remark, estimate

    recipe = load(config, overrides, to_train=True)
    remark = crop_remark(recipe, len(scans["train"].split.table))
    found = estimate(recipe, len(scans["val"].split))
    show(f"Note: {remark}" if remark else "The crop suits the network: every tap reads pixels.", json_target)
    show(
        f"Time: {found.step_seconds:.2f} s a step, {duration(found.total_seconds)} for {recipe.training.steps} steps "
        f"with their validations, {found.memory_bytes / 2**30:.1f} GiB of memory, at this machine's present load.",
        json_target,
    )
    return {**found._asdict(), "steps": recipe.training.steps, "crop": remark}


def _show(report, json_target):
    rows: list = [("split", "images", "size", "labeled")]
    for name, split in report["splits"].items():
        sizes = [f"{size} ({count})" for size, count in split["sizes"].items()]
        size = next(iter(split["sizes"]), "-") if len(sizes) < 2 else ", ".join(sizes[:3]) + ", ..." * (len(sizes) > 3)
        rows.append((name, str(split["images"]), size, f"{split['labeled']:.1%}"))
    show(text_table(rows), json_target)
    names = list(report["splits"])
    rows = [("class", *names, "")]
    for each in report["classes"]:
        shares = [report["splits"][name]["classes"].get(each) for name in names]
        rows.append((each, *("-" if not share else f"{share['share']:.2%}" for share in shares), ""))
    show("\n" + text_table(rows, left=[0]) + "\n", json_target)
    for level in ("error", "warning", "note"):
        sentences = [fault["sentence"] for fault in report["faults"] if fault["level"] == level]
        for sentence in sentences[:SHOWN]:
            show(f"{level.capitalize()}: {sentence}", json_target)
        if len(sentences) > SHOWN:
            show(f"... and {len(sentences) - SHOWN} more; --json FILE lists all.", json_target)
    if not any(fault["level"] != "note" for fault in report["faults"]):
        show("No faults found.", json_target)
    if report["sheet"]:
        show(f"Open {report['sheet']}", json_target)
