"""The files that records were made from, and which of them have changed since."""

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import sha256
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.data.file_split import stats
from deeplab_tf.lab.data.split import Split

Files = Mapping[str, Sequence[Sequence]]
"""Name of a sample -> [size, time (ns), SHA-256] of each of its files; none where it is read from no files."""


def describe_files(split: Split, name: str) -> Files:
    """Read all files of a split, and return what `changed_files` compares."""

    digest = functools.cache(sha256)  # a file may hold the labels of all images

    def describe(index):
        return [[size, time, digest(path)] for path, size, time in stats(split.files(index))]

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = threads.map(describe, range(len(split)))
        return dict(zip(split.names, list(progress(rows, f"digest {name}", total=len(split)))))


def changed_files(split: Split, before: Files) -> list[str]:
    """Return the files, and the samples that came or went, in which a split differs from what was described. A file is
    read only where its time differs, as that of a copy does."""
    came_or_went = sorted(before.keys() ^ set(split.names))
    indices = [index for index, name in enumerate(split.names) if name in before]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        digest = functools.cache(sha256)
        found = threads.map(lambda index: _changed(split.files(index), before[split.names[index]], digest), indices)
        return [*dict.fromkeys(came_or_went + [path for paths in found for path in paths])]


def _changed(paths, before, digest):
    if len(paths) != len(before):
        return paths
    return [path for (path, *now), then in zip(stats(paths), before) if not _is_same(path, now, then, digest)]


def _is_same(path, now, then, digest):
    return now == then[:2] or now[0] == then[0] and digest(path) == then[2]


def summary(changed: Sequence[str]) -> str:
    """Return how many files have changed, and the first, as the beginning of a sentence."""
    return f"{len(changed)} of the files that the records were made from have changed since, the first is {changed[0]}"


def require_unchanged(split: Split, before: Files, root: str) -> None:
    """Raise DeepLabError where files have changed since the records in `root` were made from them."""
    changed = changed_files(split, before)
    if changed:
        raise DeepLabError(f"{summary(changed)}; prepare them again: deeplab-tf prepare CONFIG --out {root}.")
