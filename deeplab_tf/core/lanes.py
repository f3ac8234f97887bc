"""Work on items in the lanes of a network: several at a time, the results in order."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any, Callable, Deque, Generator, Iterable, Sequence

from deeplab_tf.core.predictor import Predictor


def in_lanes(
    lanes: Sequence[Predictor], function: Callable[[Predictor, Any], Any], items: Iterable
) -> Generator[Any, None, None]:
    """Yield function(lane, item) for each item, in order, with as many at a time as there are lanes.

    Items are read in the thread of the caller, and one more than there are lanes is in work or waits for the caller.
    What a function raises is raised in its turn, after the results before it; nothing is begun after that, or once the
    caller stops.

    Args:
        lanes: of `Predictor.lanes`; closed at the end, but for the first.
    """
    free: Queue = Queue()
    for lane in lanes:
        free.put(lane)

    def run(item):
        lane = free.get()
        try:
            return function(lane, item)
        finally:
            free.put(lane)

    waiting: Deque = deque()
    try:
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(run, item))
                    if len(waiting) > len(lanes):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        for lane in lanes[1:]:
            if lane is not lanes[0]:
                lane.close()
