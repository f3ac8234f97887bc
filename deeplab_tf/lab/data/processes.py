"""A pool of processes that end when the one that started them does, however it ends."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.signals import end_with_parent, kept_from_children

Item = TypeVar("Item")


def each_in_processes(function: Callable[[Item], object], items: Sequence[Item], processes: int) -> Iterator[Item]:
    """Call a function for each item in as many processes, and yield each item that is done.

    Args:
        function: of a module.
        items: can be pickled.
        processes: how many; they end with the iteration, too.

    Raises:
        DeepLabError: a process was killed. What the function raises is raised here.
    """
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # TensorFlow has threads, which a fork would lose
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=end_with_parent, initargs=(os.getpid(),))
    try:
        with kept_from_children():
            futures: dict[Future, Item] = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    except BrokenProcessPool as error:
        raise DeepLabError(
            "A process was ended from outside, perhaps for its memory; run the command again, with --processes 1."
        ) from error
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        pool.shutdown(cancel_futures=True)
