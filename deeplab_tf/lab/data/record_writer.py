"""Writes a dataset as the records that records.py reads, with a TFDS builder."""

import collections
import contextlib
import errno
import functools
import io
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import locked
from deeplab_tf.core.guard import expand
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.check import count_labels, examine, shared_images
from deeplab_tf.lab.data.processes import each_in_processes
from deeplab_tf.lab.data.record_shards import (
    FILE_FORMAT,
    Shard,
    boundaries,
    encoded_samples,
    features,
    write_shard,
    write_with_beam,
)
from deeplab_tf.lab.data.records import VERSION, damage_named, version_folder
from deeplab_tf.lab.data.source_files import changed_files, describe_files, summary
from deeplab_tf.lab.data.split import Split, UnknownSplit, require_instances

SPLITS = ("train", "val", "test")
"""The splits that are prepared, where the dataset has them."""

UNFINISHED = re.compile(rf"incomplete\.[A-Z0-9]{{6}}_{re.escape(VERSION)}")
"""The folder that TFDS writes records to before it renames it."""
STALE = f"incomplete.STALE0_{VERSION}"
"""The folder of records that are being replaced."""
NO_DOWNLOADS = f"incomplete.NOFILE_{VERSION}"
"""The folder for downloads, of which there are none, but TFDS makes it."""

Progress = Callable[[Iterable, str, int], Iterable]
"""Wraps items, with a label and how many there are, to show progress."""


class Workers(NamedTuple):
    """Who writes the files of the records.

    Attributes:
        processes: on this machine, at most one a file; None: as many as it has cores.
        beam_runner: one of `record_shards.BEAM_RUNNERS`, in their place.
        beam_options: Beam's own options.
    """

    processes: int | None = None
    beam_runner: str | None = None
    beam_options: Sequence[str] = ()


HERE = Workers()


def prepare(data: dict, out: str | None, *, progress: Progress, workers: Workers = HERE) -> dict:
    """Write every split that a recipe's dataset has, and return a report.

    Args:
        data: the recipe's `data` section, resolved; its `records` are not read.
        out: the folder to write to; None: the recipe's `records`, or else records/NAME-HEIGHTxWIDTH.
        progress: shows the progress of each split.
        workers: who writes them; the records are the same.

    Returns:
        `out`, `written` (False: they were there already), `size`, `splits` (name -> number of images), `bytes`, and
        `warnings`: what made records that were there be replaced, and what is wrong with the data.

    Raises:
        DeepLabError: as `write` does, and for a dataset that cannot be opened.
    """
    height, width = data["size"]
    out = records_folder(data, out)
    data = {key: value for key, value in data.items() if key != "records"}
    splits = _open_all(data)
    written, warnings = write(splits, (height, width), data, out, progress=progress, workers=workers)
    return {
        "out": out,
        "written": written,
        "size": [height, width],
        "splits": {name: len(split) for name, split in splits.items()},
        "bytes": sum(file.stat().st_size for file in version_folder(Path(out)).iterdir()),
        "warnings": warnings,
    }


def records_folder(data: dict, out: str | None) -> str:
    """Return the folder that `prepare` writes to; its arguments are those of `prepare`.

    Raise DeepLabError for a dataset that is records itself.
    """
    if data["name"] == "records":
        raise DeepLabError("This recipe reads prepared records already; prepare the dataset that they were made from.")
    height, width = data["size"]
    default = os.path.join("records", f"{os.path.splitext(os.path.basename(data['name']))[0]}-{height}x{width}")
    return expand(out or data.get("records") or default)


def _open_all(data: dict) -> dict[str, Split]:
    splits, missing = {}, []
    for name in SPLITS:
        try:
            splits[name] = open_split(data, name)
        except UnknownSplit as error:
            missing.append(error)
    if not splits:
        raise missing[0]
    return splits


def write(
    splits: dict[str, Split],
    size: tuple[int, int],
    source: dict,
    out: str,
    *,
    progress: Progress,
    workers: Workers = HERE,
) -> tuple[bool, list[str]]:
    """Write all splits of a dataset to a folder, where the records appear whole or not at all. Records of the same
    dataset whose files have changed since are replaced.

    Args:
        splits: what to write, by the split's name.
        size: height, width of images and label maps.
        source: the recipe's `data` section, by which these records are known.
        out: the folder, `root` for reading.
        progress: shows the progress of each split.
        workers: who writes them.

    Returns:
        False if these very records are already there, and sentences for a person.

    Raises:
        DeepLabError: the folder holds other records, another process writes them, the disk is too small, and whatever
            is wrong with a sample.
    """
    folder = Path(expand(out))
    for name, split in splits.items():
        if 0 < len(split.without_instances()) < len(split):
            require_instances(split, name)
    metadata = _describe(splits, size, source)
    place, warnings = version_folder(folder), []
    with locked(folder):
        _remove_unfinished(folder)
        if place.is_dir():
            changed = _changed_since(folder, metadata, splits)
            if not changed:
                return False, []
            warnings.append(f"{summary(changed)}; they are written again.")
        _check_space(folder, splits, size)
        metadata.update(_found(splits, source))
        warnings += metadata["warnings"]
        try:
            if place.is_dir():
                place.rename(place.with_name(STALE))
            builder = Records(splits, metadata, progress, workers, data_dir=folder, file_format=FILE_FORMAT)
            run_builder(builder, download_dir=place.with_name(NO_DOWNLOADS))
        except BaseException:
            with contextlib.suppress(OSError):  # there were none
                place.with_name(STALE).rename(place)
            raise
        finally:
            _remove_unfinished(folder)
    return True, warnings


def _found(splits, source):
    """Return what else the metadata hold: the files, and what a check finds in them."""
    counts = {name: count_labels(split, name) for name, split in splits.items()}
    return {
        "files": {name: describe_files(split, name) for name, split in splits.items()},
        "counts": {name: one._asdict() for name, one in counts.items()},
        "remarks": shared_images(splits["train"], splits["val"]) if {"train", "val"} <= splits.keys() else [],
        "warnings": [problem.sentence for problem in examine(splits, counts, source)],
    }


def _remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed, or failed, left in a locked folder."""
    for path in version_folder(folder).parent.glob("incomplete.*"):
        if UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path)
    with contextlib.suppress(OSError):  # there are records, or it was never made
        version_folder(folder).parent.rmdir()


def run_builder(builder: tfds.core.DatasetBuilder, *, download_dir: str | Path, manual_dir: Path | None = None) -> None:
    """Let a TFDS builder write its files, without a network and without its messages on standard output.

    Raise DeepLabError for a disk that fills up; TFDS removes what it wrote.
    """
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False, compute_stats="skip")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=download_dir, download_config=config)
    except Exception as error:  # each of the writers beneath TFDS has a type of its own for this
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise DeepLabError(
            f"The disk is full: cannot write records to {builder.data_dir}. Free some space and run the command again."
        ) from error


class Records(tfds.core.dataset_builder.ShardBasedBuilder):
    """The TFDS builder of prepared records, whose files are written at the same time by several processes."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, splits: dict[str, Split], metadata: dict, progress: Progress, workers: Workers, **kwargs):
        self._splits, self._metadata, self._progress, self._workers = splits, metadata, progress, workers
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description="Images and label maps at the training size, written by deeplab-tf prepare.",
            features=features(tuple(self._metadata["size"])),
            metadata=tfds.core.MetadataDict(self._metadata),
            disable_shuffling=True,  # record i is sample i of the split
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict:
        return {
            name: [functools.partial(encoded_samples, shard) for shard in self._shards(name, split)]
            for name, split in self._splits.items()
        }

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        """Write all files, and describe them: TFDS would write one after the other or, with Beam, each split in a
        pipeline that writes those before it again."""
        shards = {name: self._shards(name, split) for name, split in self._splits.items()}
        everything = [shard for each in shards.values() for shard in each]
        several = any(len(each) > 1 for each in shards.values())  # else starting processes takes longer than writing
        processes = min(len(everything), self._workers.processes or os.cpu_count() or 1) if several else 1
        count = sum(map(len, self._splits.values()))
        if self._workers.beam_runner is not None:
            write_with_beam(everything, self._workers.beam_runner, self._workers.beam_options)
        elif processes > 1:
            done = each_in_processes(write_shard, everything, processes)
            _exhaust(self._progress((name for shard in done for name in shard.names), "prepare", count))
        else:
            for name, split in self._splits.items():
                written = iter(self._progress(range(len(split)), f"prepare {name}", len(split)))
                for shard in shards[name]:
                    write_shard(shard, split, functools.partial(next, written))
                _exhaust(written)
        infos = [self._split_info(name, each) for name, each in shards.items()]
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def _shards(self, name: str, split: Split) -> list[Shard]:
        size = tuple(self._metadata["size"])
        each = size[0] * size[1] * (8 if split.has_instances() else 4)
        ends = boundaries(len(split), each)
        source = json.dumps({key: value for key, value in self._metadata["source"].items() if value is not None})
        template = self._get_filename_template(name)
        return [
            Shard(
                source,
                name,
                start,
                split.names[start:stop],
                size,
                str(template.sharded_filepath(shard_index=i, num_shards=len(ends) - 1)),
            )
            for i, (start, stop) in enumerate(itertools.pairwise(ends))
        ]

    def _split_info(self, name: str, shards: list[Shard]) -> tfds.core.SplitInfo:
        return tfds.core.SplitInfo(
            name=name,
            shard_lengths=[len(shard.names) for shard in shards],
            num_bytes=sum(os.path.getsize(shard.path) for shard in shards),
            filename_template=self._get_filename_template(name),
        )


def _exhaust(items: Iterable) -> None:
    collections.deque(items, maxlen=0)


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Look for nothing on the network; TFDS would make a temporary folder for it, and leave it."""


def _describe(splits: dict[str, Split], size: tuple[int, int], source: dict) -> dict:
    tables = {split.table for split in splits.values()}
    label_ids = next(iter(splits.values())).label_ids
    return {
        "classes": tables.pop().to_dicts(),
        "label_ids": label_ids and {str(file_id): class_id for file_id, class_id in label_ids.items()},
        "size": list(size),
        "source": json.loads(json.dumps(source, default=str)),
        "names": {name: split.names for name, split in splits.items()},
    }


def _changed_since(folder: Path, metadata: dict, splits: dict[str, Split]) -> list[str]:
    """Return which files differ from those of the records in a folder. Raise DeepLabError for records of another
    dataset."""
    with damage_named(version_folder(folder)):
        there = dict(tfds.builder_from_directory(version_folder(folder)).info.metadata)
        there["source"] = {key: value for key, value in there["source"].items() if value is not None}  # as in `data`
        names, sources = set(there["names"]), dict(there["files"])
    different = [key for key in metadata if key != "names" and there.get(key) != metadata[key]]
    if different:
        raise DeepLabError(
            f"{folder} holds records of something else (different {', '.join(different)}); choose another --out, or "
            f"remove {folder / 'records'}."
        )
    changed = sorted(names ^ splits.keys())
    for name, files in sources.items():
        changed += changed_files(splits[name], files) if name in splits else []
    return changed


def _check_space(folder: Path, splits: dict[str, Split], size: tuple[int, int]) -> None:
    """Compressed records take up to the bytes of their pixels."""
    count, each = sum(map(len, splits.values())), 8 if all(split.has_instances() for split in splits.values()) else 4
    need, free = 1.0 * count * size[0] * size[1] * each, shutil.disk_usage(folder).free
    if need > free:
        raise DeepLabError(
            f"Preparing {count} images needs {need / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free there."
        )
