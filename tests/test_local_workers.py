"""`train --workers`: processes that end in any way, told from a stand-in for `deeplab-tf` without TensorFlow."""

import signal
import subprocess
import sys
import textwrap

import pytest
import tiny

STAND_IN = """
import json, os, pathlib, signal, sys, time
rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
args = sys.argv[1:]
def say(text): print("Error: " + text, file=sys.stderr, flush=True)
"""


def launch(tmp_path, body, **options):
    """Run two workers that do what `body` says; return exit code and standard error."""
    (tmp_path / "stand_in.py").write_text(STAND_IN + textwrap.dedent(body))
    source = f"""
        import sys
        from deeplab_tf.core.errors import DeepLabError
        from deeplab_tf.lab.training import local_workers
        local_workers.MODULE, local_workers.GRACE_S = "stand_in", 1.0
        try:
            local_workers.run(["train", "x"], 2, again="Continue with: it", **{options!r})
        except DeepLabError as error:
            print("Error:", error, file=sys.stderr)
            sys.exit(9)
    """
    environment = tiny.environment()
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )


def result(process):
    stderr = process.communicate(timeout=60)[1]
    return process.returncode, stderr


def test_both_end_well(tmp_path):
    assert result(launch(tmp_path, "sys.exit(0)")) == (0, "")


def test_what_another_worker_said_is_told_where_worker_0_only_waits(tmp_path):
    """As for one that cannot join: worker 0 waits for it, and has to be ended."""
    code, stderr = result(launch(tmp_path, "time.sleep(60) if rank == 0 else (say('no port.'), sys.exit(1))"))
    assert (code, stderr) == (9, "Error: Worker 1 failed: no port. Continue with: it\n")


def test_worker_0_says_why_once(tmp_path):
    body = """
        time.sleep(0.3 * (1 - rank))
        say(f'worker {rank}')
        sys.exit(1 + rank)
    """
    for retries in (0, 2):  # a failure that nobody's death explains comes again
        assert result(launch(tmp_path, body, retries=retries)) == (1, "Error: worker 0\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_is_named(tmp_path, rank):
    body = f"os.kill(os.getpid(), signal.SIGKILL) if rank == {rank} else time.sleep(60)"
    code, stderr = result(launch(tmp_path, body))
    sentence = f"Worker {rank} was killed (SIGKILL), and the others were ended."
    assert (code, stderr) == (9, f"Error: {sentence} Continue with: it\n")


def test_a_killed_worker_is_started_again_with_resume(tmp_path):
    body = """
        pathlib.Path(f"{rank}.log").open("a").write(" ".join(args) + "\\n")
        if rank and len(pathlib.Path("1.log").read_text().splitlines()) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0 if "--resume" in args else 60)
    """
    code, stderr = result(launch(tmp_path, body, retries=3))
    assert code == 0 and stderr.count("Starting all 2 again") == 2
    assert (tmp_path / "1.log").read_text().splitlines() == ["train x", "train x --resume", "train x --resume"]


def test_signals_reach_all(tmp_path):
    body = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(40 + rank))
        pathlib.Path(f"{rank}.ready").touch()
        time.sleep(60)
    """
    process = launch(tmp_path, body, retries=3)
    while not all((tmp_path / f"{rank}.ready").exists() for rank in range(2)):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert result(process) == (40, "")
