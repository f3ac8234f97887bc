"""Several processes that train one network together, each with a part of every batch: workers.

TF_CONFIG names them (https://www.tensorflow.org/guide/distributed_training). Each holds the whole network in plain
variables and takes the same steps, because what a step depends on is summed over all of them first, by TensorFlow's
collectives: NCCL between GPUs, rings over TCP between CPUs. Keras' `fit` under a strategy's scope is no way to do it:
there the losses of ignored pixels, clipping and batch normalization are each worker's own.
"""

import contextlib
import itertools
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.progress import say

LEFT = "deeplab_tf worker {} left: {} (end)"
"""What a worker that fails tells the others, inside an error of TensorFlow."""
TELLING_S = 10.0
"""How long a worker that fails tries to tell the others."""
HALF_LARGEST = 32_768.0
"""The largest sum of gradients in float16, which ends at 65,504."""
_HOST_GROUP, _DEVICE_GROUP = 1, 2
_FIRST_KEY, _FIRST_HOST_KEY = 1_000, 1_000_000_000


class WorkerLeft(DeepLabError):
    """Another worker has failed, was stopped or cannot be reached."""


class Workers:
    """All workers as one of them sees them. Each must call the same methods in the same order.

    Attributes:
        size: how many there are.
        rank: which one this is, from 0; worker 0 writes the run.
        agreed: whether all have agreed to end, so that an interruption is nobody's failure.
    """

    def __init__(self, size: int = 1, rank: int = 0):
        self.size, self.rank, self.agreed = size, rank, False
        self._keys, self._host_keys = itertools.count(_FIRST_KEY), itertools.count(_FIRST_HOST_KEY)

    @property
    def writes(self) -> bool:
        """Whether this worker writes the run."""
        return self.rank == 0

    def total(self, tensor):
        """Return the sum over the workers; the gradient is that of this worker's part.

        So a loss of such sums is the same on all workers, and the sum of their gradients is its gradient.
        """
        if self.size == 1:
            return tensor
        return tensor + tf.stop_gradient(self._reduce(tensor, next(self._keys)) - tensor)

    def total_through(self, tensor):
        """Return the sum over the workers with its full gradient: what one gives moves the losses of all."""
        if self.size == 1:
            return tensor
        forward, backward = next(self._keys), next(self._keys)

        @tf.custom_gradient
        def summed(x):
            return self._reduce(x, forward), lambda upstream: self._reduce(upstream, backward)

        return summed(tensor)

    def mean(self, total, weight):
        """Return total / weight, each over all workers, or 0 without weight; the gradient is as in `total`."""
        return tf.math.divide_no_nan(self.total(total), tf.stop_gradient(self.total(weight)))

    def sum_each(self, tensors: Sequence, dtype: tf.DType = tf.float32) -> list:
        """Return the sum over the workers of each tensor, of a known shape, in one message of this type."""
        if self.size == 1:
            return list(tensors)
        flat = tf.concat([tf.reshape(tf.cast(tensor, dtype), (-1,)) for tensor in tensors], axis=0)
        parts = tf.split(self._reduce(flat, next(self._keys)), [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors)]

    def sum_gradients(self, gradients: Sequence, others: Sequence, *, half: bool = False) -> tuple[list, list]:
        """Return the sums over the workers of gradients and of other tensors, as `sum_each` does.

        With `half` gradients travel in float16, divided by the sum of the workers' largest absolute values, so that no
        sum overflows: a second, small message comes before. A sum that is not finite stays so.
        """
        if not half or self.size == 1:
            summed = self.sum_each([*gradients, *others])
            return summed[: len(gradients)], summed[len(gradients) :]
        largest = tf.reduce_max([tf.reduce_max(tf.abs(tf.cast(each, tf.float32))) for each in gradients])
        largest, *others = self.sum_each([largest, *others])
        scale = HALF_LARGEST / tf.maximum(largest, 1e-30)
        halves = [tf.cast(tf.cast(each, tf.float32) * scale, tf.float16) for each in gradients]
        return [tf.cast(each, tf.float32) / scale for each in self.sum_each(halves, tf.float16)], others

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set on any worker."""
        if self.size == 1:
            return flags
        return tuple(bool(count) for count in self._on_host(np.array(flags, np.int32), _FIRST_HOST_KEY - len(flags)))

    def gather(self, value: Any) -> list:
        """Return what each worker gives, a value for JSON, in the order of their ranks."""
        if self.size == 1:
            return [value]
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        lengths = np.zeros(self.size, np.int32)
        lengths[self.rank] = len(text)
        lengths = self._on_host(lengths, next(self._host_keys))
        texts = np.zeros(lengths.sum(), np.int32)
        start = lengths[: self.rank].sum()
        texts[start : start + len(text)] = text
        texts = self._on_host(texts, next(self._host_keys)).astype(np.uint8)
        return [json.loads(part.tobytes()) for part in np.split(texts, np.cumsum(lengths)[:-1])]

    def share(self, value: Any) -> Any:
        """Return what worker 0 gives, a value for JSON."""
        return self.gather(value if self.writes else None)[0]

    def share_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Set the variables to those of worker 0, to the last bit."""
        if self.size == 1:
            return
        for variable in variables:
            values = np.ascontiguousarray(variable.numpy())
            words = np.frombuffer(values.tobytes(), np.int64 if values.itemsize == 8 else np.int32)
            found = self._on_host(words if self.writes else np.zeros_like(words), next(self._host_keys))
            variable.assign(np.frombuffer(found.tobytes(), values.dtype).reshape(tuple(variable.shape)))

    def check_alike(self, facts: dict[str, Any]) -> None:
        """Raise DeepLabError, on all workers, where one has another value under a key than worker 0."""
        everyone = self.gather(facts)
        for rank, theirs in enumerate(everyone):
            for key in sorted({*everyone[0], *theirs}):
                if theirs.get(key) != everyone[0].get(key):
                    raise DeepLabError(
                        f"Worker {rank} differs from worker 0 in {key}: {theirs.get(key)} there, "
                        f"{everyone[0].get(key)} on worker 0. All workers need the same recipe, files and version."
                    )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A context in which a failure of one worker ends all: the others raise WorkerLeft, which says why."""
        if self.size == 1:
            yield
            return
        try:
            yield
            self.any(False)  # a worker that ends early would be taken for one that was lost
        except tf.errors.OpError as error:
            left = reason(error)
            if left is None:
                self._tell(error)
                raise
            _silence_libraries()
            raise WorkerLeft(left) from error
        except WorkerLeft:
            raise
        except BaseException as error:
            if self.agreed:
                with contextlib.suppress(tf.errors.OpError):
                    self.any(False)  # the last messages arrive
                _silence_libraries()
            else:
                self._tell(error)
            raise

    def _tell(self, error):
        """Tell the other workers why this one leaves."""
        why = str(error).strip() or type(error).__name__
        if any(isinstance(each, KeyboardInterrupt | SystemExit) for each in (error, error.__cause__)):
            why = "it was interrupted"
        telling = threading.Thread(target=_report, args=(LEFT.format(self.rank, why),), daemon=True)
        telling.start()
        telling.join(TELLING_S)  # it waits for worker 0 without end
        _silence_libraries()

    def _reduce(self, tensor, key, group=_DEVICE_GROUP):
        hint = "auto" if tf.config.list_physical_devices("GPU") and group == _DEVICE_GROUP else "ring"
        options = {"ordering_token": [], "merge_op": "Add", "final_op": "Id", "communication_hint": hint}
        return tf.raw_ops.CollectiveReduceV2(
            input=tensor, group_size=self.size, group_key=group, instance_key=key, **options
        )

    def _on_host(self, array, key) -> np.ndarray:
        with tf.device("CPU:0"):
            return self._reduce(tf.constant(array), key, _HOST_GROUP).numpy()


def _report(text):
    """Report an error to all workers."""
    with contextlib.suppress(Exception):  # they are gone too, or this one has not joined
        from tensorflow.python.eager import context

        context.context().report_error_to_cluster(3, text)


def _silence_libraries():
    """Leave standard error to Python: what TensorFlow's own code logs at its end would hide the reason."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


ALONE = Workers()
"""The only worker of a training in one process."""
_joined: Workers | None = None


def join() -> Workers:
    """Return the workers that TF_CONFIG names, once all of them are there; `ALONE` without it.

    Must be called before TensorFlow has computed anything.

    Raises:
        WrongCall: TF_CONFIG is not understood.
        DeepLabError: the workers cannot be joined.
    """
    global _joined
    size, rank = read_tf_config(os.environ.get("TF_CONFIG", ""))
    if size == 1:
        return ALONE
    if _joined is None:
        say(f"Worker {rank} of {size}: waiting for the others ...")
        try:
            tf.distribute.MultiWorkerMirroredStrategy()  # joins the cluster by TF_CONFIG; nothing else of it is used
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise DeepLabError(
                f"Worker {rank} cannot join the others that TF_CONFIG names; start all of them at the same time, with "
                f"addresses that each can reach. TensorFlow says: {str(error).splitlines()[0]}"
            ) from error
        _joined = Workers(size, rank)
    return _joined


def read_tf_config(text: str) -> tuple[int, int]:
    """Return the number of workers in a TF_CONFIG and the rank of this one; (1, 0) without any.

    A chief is worker 0, as TensorFlow has it.
    """
    try:
        config = json.loads(text or "{}")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        counts = {kind: len(addresses) for kind, addresses in cluster.items()}
    except (ValueError, AttributeError, TypeError):
        raise WrongCall(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": '
            f'"worker", "index": 0}}}}. Got: {text[:200]}'
        ) from None
    if not counts:
        return 1, 0
    others = sorted(set(counts) - {"chief", "worker"})
    if others:
        raise WrongCall(f"TF_CONFIG may name a chief and workers. It also names: {', '.join(others)}.")
    kind, index = task.get("type"), task.get("index")
    if kind not in counts or not isinstance(index, int) or not 0 <= index < counts[kind] or counts.get("chief", 0) > 1:
        raise WrongCall(
            f"TF_CONFIG must give this process's place in the cluster of {counts}: a type and an index from 0. Got the "
            f"task {task}."
        )
    chiefs = counts.get("chief", 0)
    return chiefs + counts.get("worker", 0), index + (chiefs if kind == "worker" else 0)


def reason(error: BaseException) -> str | None:
    """Return why an operation over all workers failed, if another worker is the cause."""
    text = str(error)
    told = re.search(re.escape(LEFT).replace(r"\{\}", "(.*?)", 1).replace(r"\{\}", "(.*)", 1), text, re.DOTALL)
    if told:
        return f"Worker {told[1]} has left: {told[2].rstrip('.')}."
    lost = (
        "heartbeat timeout",
        "CoordinationService/Heartbeat",
        "Socket closed",
        "onnection reset",
        "onnection refused",
        "failed to connect",
    )
    if any(sign in text for sign in lost) or isinstance(error, tf.errors.UnavailableError):
        who = re.search(r"/job:worker(?:/replica:\d+)?/task:(\d+)(?: heartbeat| while|$)", text)
        name = f"Worker {who[1]}" if who else "Another worker"
        return f"{name} is gone: it was killed, or its machine or network failed."
    return None
