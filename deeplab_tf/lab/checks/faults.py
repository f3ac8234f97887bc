"""What is wrong with a dataset that was read: a sentence for each fault, with its level and its files."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deeplab_tf.core.errors import some_of
from deeplab_tf.core.progress import counted
from deeplab_tf.lab.checks.duplicates import can_hash, duplicates
from deeplab_tf.lab.checks.scan import Scan
from deeplab_tf.lab.data.check import TITLES, examine
from deeplab_tf.lab.data.split import Split

RARE = 0.001
"""Share of a split's labeled pixels below which a class is rare."""

LEVELS = ("error", "warning", "note")
"""`train` stops at an error; a warning makes scores wrong or lower; a note is worth knowing."""


class Fault(NamedTuple):
    """Something wrong with a dataset."""

    level: str  # one of LEVELS
    kind: str  # file, labels, rare class, ignored, duplicate, size
    sentence: str
    files: tuple[str, ...] = ()


class Alike(NamedTuple):
    """Images that are the same, or nearly."""

    exact: bool
    splits: tuple[str, ...]
    files: tuple[str, ...]  # one of each split first


def find_faults(scans: Mapping[str, Scan], groups: Sequence[Alike], data: dict) -> list[Fault]:
    """Return what is wrong with splits that were read, the worst first.

    Args:
        scans: by the split's name.
        groups: see `groups_of`.
        data: the recipe's `data` section.
    """
    found = [Fault("error", "file", sentence) for scan in scans.values() for sentence in scan.errors]
    found += _of_labels(scans, data)
    for name, scan in scans.items():
        found += [*_rare(name, scan), *_ignored(scan)]
    found += _of_sizes(scans, data)
    found += _duplicates(groups)
    return sorted(found, key=lambda fault: LEVELS.index(fault.level))


def _of_labels(scans, data):
    """What `train` says too, of the samples that can be read."""
    counts = {name: scan.counts() for name, scan in scans.items()}
    good = {name: _Good(scans[name]) for name, each in counts.items() if each is not None}
    known = {name: each for name, each in counts.items() if each is not None}
    problems = examine(good, known, data)
    return [Fault("error" if problem.fatal else "warning", "labels", problem.sentence) for problem in problems]


class _Good(Split):
    """The samples of a split that can be read, for `examine`."""

    def __init__(self, scan: Scan):
        if scan.split is None:
            raise ValueError("This split was not opened.")
        self.split, self.indices = scan.split, scan.good()
        self.table, self.remarks = scan.split.table, scan.split.remarks
        self.names = [scan.split.names[index] for index in self.indices]

    def files(self, index: int) -> list[str]:
        return self.split.files(self.indices[index])


def _rare(name, scan):
    counts = scan.counts()
    total = sum(counts.pixels.values()) if counts else 0
    for each, pixels in (counts.pixels if counts else {}).items():
        if 0 < pixels < RARE * total:
            images = counted(counts.images_with[each], "images")
            yield Fault(
                "warning",
                "rare class",
                f"'{each}' is {pixels / total:.3%} of the labeled pixels of the {TITLES.get(name, name)} split, in "
                f"{images}: its score will be low and vary from run to run.",
            )


def _ignored(scan):
    """Samples without a pixel of any class, unless the whole split is so, which is said already."""
    if scan.split is None or not any(scan.read[index].content.classes.any() for index in scan.good()):
        return
    for index in scan.good():
        if not scan.read[index].content.classes.any():
            label = scan.split.paths(index)[-1]
            yield Fault("warning", "ignored", f"Every pixel of {label} is ignored.", (label,))


def _of_sizes(scans, data):
    """How far images are stretched by `data.size`."""
    sizes = {each.size for scan in scans.values() for each in scan.read if each}
    height, width = data["size"]
    stretched = {size: size[0] * width / (size[1] * height) for size in sizes}
    worst = max(stretched, key=lambda size: max(stretched[size], 1 / stretched[size]), default=None)
    if worst and max(stretched[worst], 1 / stretched[worst]) > 1.1:
        yield Fault(
            "note",
            "size",
            f"Images of {worst[0]}x{worst[1]} are stretched to data.size {height}x{width}: their aspect ratio changes "
            f"by {max(stretched[worst], 1 / stretched[worst]) - 1:.0%}.",
        )


def groups_of(scans: Mapping[str, Scan]) -> list[Alike]:
    """Return the groups of images that are the same, or nearly, within and across splits."""
    places = [(name, index) for name, scan in scans.items() for index in scan.good()]
    groups = duplicates([scans[name].read[index].fingerprint for name, index in places])  # type: ignore[union-attr]
    return [_alike(scans, [places[number] for number in group.indices], group.exact) for group in groups]


def _alike(scans, members, exact):
    by_split: dict[str, list[str]] = {}
    for name, index in members:
        by_split.setdefault(name, []).append(scans[name].split.paths(index)[0])
    first = [files[0] for files in by_split.values()]  # one of each split
    files = dict.fromkeys([*first, *itertools.chain(*by_split.values())])
    return Alike(exact, tuple(by_split), tuple(files))


def _duplicates(groups):
    """A fault for each group that is in two splits or exact; one for all others of a split, such as those of a
    video."""
    within: dict[str, list[Alike]] = {}
    for group in groups:
        if len(group.splits) > 1:
            where = " and ".join(group.splits)
            sentence = f"are in {where}: scores on them say nothing about new images."
        elif group.exact:
            sentence = f"are in the {TITLES.get(group.splits[0], group.splits[0])} split."
        else:
            within.setdefault(group.splits[0], []).append(group)
            continue
        alike = "have the same pixels" if group.exact else "are nearly the same"
        yield Fault("warning", "duplicate", f"{some_of(group.files)} {alike} and {sentence}", group.files)
    for name, nearly in within.items():
        files = tuple(itertools.chain(*(group.files for group in nearly)))
        sentence = (
            f"{len(files)} images of the {TITLES.get(name, name)} split are nearly the same as another, as frames of a "
            f"video are; the first are {nearly[0].files[0]} and {nearly[0].files[1]}."
        )
        yield Fault("note", "duplicate", sentence, files)
    if not can_hash():
        yield Fault("note", "duplicate", "Near duplicates were not looked for: pip install 'deeplab_tf[check]'.")
