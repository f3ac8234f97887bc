"""The run folder: its checkpoints, and which one is meant."""

import re
from pathlib import Path

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import Value, read_json

BEST, LAST = "best", "last"
"""The networks with the highest and with the newest validation score."""
DATA = "data_check.json"
"""What a check of the dataset found before the training: `lab.data.check.Checked` as JSON."""
MAX_WARNING = 10_000
"""Characters."""
_SAVED_STEP = re.compile(r"step_(\d{8})\.keras")


def checkpoints(run: str | Path) -> list[str]:
    """Return the checkpoints of a run: the saved steps in order ("10000", "60000"), then "last" and "best"; those that
    exist."""
    kept = Path(run, "kept").glob("step_*.keras")
    found = [_SAVED_STEP.fullmatch(path.name) for path in kept if path.is_file()]
    steps = sorted(int(match[1]) for match in found if match)
    return [str(step) for step in steps] + [name for name in (LAST, BEST) if Path(run, f"{name}.keras").is_file()]


def check_run(path: str | Path) -> None:
    """Raise DeepLabError unless `path` is a run folder."""
    place = Path(path)
    if not (place / "config.yaml").is_file():
        kind = "is a file" if place.is_file() else "has no config.yaml" if place.is_dir() else "does not exist"
        raise DeepLabError(f"Expected a run folder, as 'deeplab-tf train' writes it, but {path} {kind}.")


def resolve_checkpoint(run: str | Path, checkpoint: str | int | None = None) -> str:
    """Return the name of an existing checkpoint; for None the best one or, before there is a best, the last.

    Raises DeepLabError for a folder that is not a run, and for a missing checkpoint, naming those that exist.
    """
    check_run(run)
    known = checkpoints(run)
    if not known:
        raise DeepLabError(
            f"The run {run} has no checkpoint yet (best.keras, last.keras or kept/step_*.keras); train it further."
        )
    if checkpoint is None:
        return known[-1]
    name = str(checkpoint)
    name = (name.lstrip("0") or "0") if name.isdecimal() else name
    if name not in known:
        raise DeepLabError(f"The run {run} has no checkpoint '{name[:100]}'. It has: {', '.join(known)}.")
    return name


def network_file(run: str | Path, checkpoint: str | int | None = None) -> Path:
    """Return the Keras file of a checkpoint; see `resolve_checkpoint`."""
    name = resolve_checkpoint(run, checkpoint)
    return Path(run, f"{name}.keras" if name in (BEST, LAST) else f"kept/step_{int(name):08d}.keras")


def read_data(run: str | Path) -> dict:
    """Return a run's data_check.json: `counts`, `warnings` and `files`; empty where there is none, or it is damaged."""
    try:
        found = Value(read_json(Path(run, DATA)), DATA)
        found["files"].text()
        for warning in found["warnings"].rows():
            warning.text(MAX_WARNING)
        for split in ("train", "val"):
            _check_counts(found["counts"][split])
    except DeepLabError:
        return {}
    return found.mapping()


def _check_counts(counts):
    """Raise DeepLabError for what is no `lab.data.check.LabelCounts`."""
    counts.only("images", "pixels", "images_with", "ignored", "unlabeled", "remarks")
    numbers = [
        counts["images"],
        *(each for key in ("pixels", "images_with", "ignored") for _, each in counts[key].items()),
    ]
    for number in numbers:
        number.integer(0, 10**18)
    for name in counts["unlabeled"].rows():
        name.text()
    remarks = counts.get("remarks")
    for row in remarks.rows() if remarks is not None else []:
        remark, images, first = row.rows(3, 3)
        images.integer(1, 10**18)
        remark.text(), first.text(MAX_WARNING)
