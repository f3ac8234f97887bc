"""`deeplab-tf train --workers N`: processes of this machine that train one network together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import say
from deeplab_tf.core.signals import PARENT, end_child, handling

MODULE = "deeplab_tf"
GRACE_S = 30.0
"""How long the others may take to find out that one has failed; they say why, or what to do."""


def run(arguments: Sequence[str], workers: int, *, own: Sequence[str] = (), retries: int = 0, again: str = "") -> None:
    """Run `deeplab-tf` as many workers, until all have ended. Signals go to all of them.

    Args:
        arguments: of the command line.
        workers: how many.
        own: further arguments of worker 0.
        retries: how often all are started again, with --resume, after one of them was killed.
        again: what to do after that, for the error.

    Raises:
        DeepLabError: a worker was killed, or failed without a word of worker 0.
        SystemExit: with the exit code of worker 0, which has said why.
    """
    gpus = visible_gpus()
    if 0 < len(gpus) < workers:
        raise DeepLabError(f"--workers is {workers}, and there are {len(gpus)} GPUs; each worker takes one.")
    for attempt in range(retries + 1):
        with tempfile.TemporaryDirectory(prefix="deeplab_tf_workers_") as logs:
            processes = _start(arguments, workers, own, gpus, Path(logs))
            signals: list[int] = []
            codes = _wait(processes, signals, restarts=attempt < retries)
            failed = [rank for rank, code in enumerate(codes) if code]
            if not failed:
                return
            killed = [rank for rank in failed if codes[rank] < 0]
            restarts = bool(killed) and attempt < retries and not signals
            if codes[0] and codes[0] > 0 and not restarts:
                raise SystemExit(codes[0])  # worker 0 has said why
            why = _ending((killed or failed)[0], codes[(killed or failed)[0]], Path(logs))
        if not restarts:
            raise DeepLabError(f"{why} {again}".strip())
        say(f"{why} Starting all {workers} again ({attempt + 1} of {retries}) ...")
        arguments = [*arguments, *([] if "--resume" in arguments else ["--resume"])]


def visible_gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return sorted(path.name[6:] for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))


def _start(arguments, workers, own, gpus, logs):
    """Start the processes; worker 0 has this one's output, what the others say goes to files."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for rank in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task), PARENT: str(os.getpid())}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[rank]
        else:
            threads = str(max(1, (os.cpu_count() or 1) // workers))
            environment.setdefault("TF_NUM_INTRAOP_THREADS", threads)
            environment.setdefault("OMP_NUM_THREADS", threads)
        command = [sys.executable, "-m", MODULE, *arguments, *(own if rank == 0 else ())]
        with open(logs / str(rank), "wb") as log:
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=None if rank == 0 else subprocess.DEVNULL,
                    stderr=None if rank == 0 else log,
                    start_new_session=True,  # a Ctrl-C comes from here alone, and so once
                )
            )
    return processes


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(processes, signals, restarts):
    """Return the exit codes once all have ended, None for those that had to be ended; `signals` gets those that were
    passed on."""

    def forward(number, frame):
        signals.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    deadline = None
    with handling(forward):
        try:
            while any(process.poll() is None for process in processes):
                codes = [process.poll() for process in processes]
                if restarts and any(code is not None and code < 0 for code in codes):
                    break  # nobody needs to know why
                if deadline is None and any(codes):
                    deadline = time.monotonic() + GRACE_S
                if deadline is not None and time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        finally:
            codes = [process.poll() for process in processes]
            for process in processes:
                end_child(process)
    return codes


def _ending(rank, code, logs):
    """Return a sentence on how a worker has ended."""
    if code < 0:
        return f"Worker {rank} was killed ({signal.Signals(-code).name}), and the others were ended."
    said = (logs / str(rank)).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = said[-1].removeprefix("Error: ") if said else f"exit code {code}"
    return f"Worker {rank} failed: {last}"
