"""Workers of three machines, each a network namespace on one bridge; one loses its network. It needs root."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
import tiny

MACHINES = 3
WORKER = """
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab import workers

joined = workers.join()
try:
    with joined.together():
        joined.any(False)
        print("joined", flush=True)
        while True:
            joined.any(False)
except DeepLabError as error:
    print(error)
"""


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def machines():
    """Network namespaces and their addresses; each reaches the others over a bridge, and nothing else."""
    stem = f"dl{os.getpid()}"
    with contextlib.ExitStack() as undo:
        try:
            ip("link", "add", f"{stem}b", "type", "bridge")
            undo.callback(ip, "link", "del", f"{stem}b")
            ip("link", "set", f"{stem}b", "up")
            for i in range(MACHINES):
                ip("netns", "add", f"{stem}n{i}")
                undo.callback(ip, "netns", "del", f"{stem}n{i}")
                ip("link", "add", f"{stem}v{i}", "type", "veth", "peer", "name", "eth0", "netns", f"{stem}n{i}")
                undo.callback(ip, "link", "del", f"{stem}v{i}")
                ip("link", "set", f"{stem}v{i}", "master", f"{stem}b", "up")
                ip("-n", f"{stem}n{i}", "addr", "add", f"10.213.7.{i + 1}/24", "dev", "eth0")
                for device in ("lo", "eth0"):
                    ip("-n", f"{stem}n{i}", "link", "set", device, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield {f"{stem}n{i}": f"10.213.7.{i + 1}" for i in range(MACHINES)}, [f"{stem}v{i}" for i in range(MACHINES)]


def start(name, rank, cluster, output):
    config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": rank}}
    environment = {**tiny.environment(), "TF_CONFIG": json.dumps(config)}
    command = ["ip", "netns", "exec", name, sys.executable, "-c", WORKER]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("cut", [0, 2])  # the worker that all report to, and another
def test_worker_cut_off_from_the_network_ends_all_with_a_sentence(tmp_path, cut):
    outputs = [tmp_path / str(rank) for rank in range(MACHINES)]
    with contextlib.ExitStack() as stack:
        names, links = stack.enter_context(machines())
        cluster = [f"{address}:2222" for address in names.values()]
        for rank, (name, output) in enumerate(zip(names, outputs)):
            process = start(name, rank, cluster, stack.enter_context(open(output, "wb")))
            stack.callback(process.wait)
            stack.callback(process.kill)
        end = time.monotonic() + 120
        while not all(output.read_bytes() for output in outputs):
            assert time.monotonic() < end, "they did not join"
            time.sleep(0.1)
        ip("link", "set", links[cut], "down")  # nobody is told: packets vanish
        end = time.monotonic() + 60
        while not all(output.read_text().count("\n") == 2 for output in outputs):
            assert time.monotonic() < end, [output.read_text() for output in outputs]
            time.sleep(0.1)
    for output in outputs:
        assert output.read_text().endswith("is gone: it was killed, or its machine or network failed.\n")
    others = [output.read_text() for rank, output in enumerate(outputs) if rank != cut]
    assert cut == 0 or all(f"\nWorker {cut} is gone" in text for text in others)
