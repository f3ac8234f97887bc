"""True and predicted files: which belong together, and counting them on all processors."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, Iterator, List, Sequence, TypeVar

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def common_names(
    truths: Dict[str, str], predictions: Dict[str, str], truth: str, prediction: str, *, empty: bool = False
) -> List[str]:
    """Return the names of all images, sorted.

    Args:
        truths, predictions: name of an image -> what an error calls it, such as its path.
        truth, prediction: the two folders.
        empty: there may be no images, as in one of many parts.

    Raises:
        DeepLabError: there is no truth, or a name is on one side only; how many are, and the first, are in the message.
    """
    if not truths and not empty:
        raise DeepLabError(f"{truth} holds no true labels.")
    missing, extra = sorted(set(truths) - set(predictions)), sorted(set(predictions) - set(truths))
    if missing:
        there = f" A prediction of no image is {predictions[extra[0]]}." if extra else ""
        raise DeepLabError(
            f"{len(missing)} of {len(truths)} images have no prediction in {prediction}; the first is "
            f"{truths[missing[0]]}.{there}"
        )
    if extra:
        raise DeepLabError(f"{len(extra)} predictions have no truth in {truth}; the first is {predictions[extra[0]]}.")
    return sorted(truths)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], *, label: str = "score") -> Iterator[Result]:
    """Yield function(item) for each item, in order, with progress, whose line begins with `label`; the end of the loop
    cancels what has not begun."""
    return iter(progress(_results(function, items), label, total=len(items)))


def _results(function, items):
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        futures: deque = deque()
        try:
            for item in items:
                futures.append(pool.submit(function, item))
                if len(futures) >= 8 * threads:  # of a million items not all at once
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()
