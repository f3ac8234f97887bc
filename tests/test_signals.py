"""SIGINT, SIGTERM and SIGHUP end every command in order; a suspended process goes on. Real processes, real signals."""

import glob
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import streams
import tiny_bundle

from deeplab_tf.core import clock, progress
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.manifest import MANIFEST
from deeplab_tf.core.signals import OrderlyEnd

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(*command, **options):
    """A process in a group of its own, with its output as one pipe."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **{"env": streams.environment(), **options},
    )


def start_script(body, *arguments, **options):
    """A process in the context of every command; it is ready when this returns."""
    script = "import os, sys, time\nfrom deeplab_tf.core import signals\nwith signals.OrderlyEnd() as end:\n    try:\n"
    script += "".join(f"        {line}\n" for line in body.strip().splitlines())
    script += "    except KeyboardInterrupt:\n        print('ended')\n        sys.exit(end.exit_code())\n"
    process = start("-c", script, *arguments, **options)
    assert process.stdout.readline() == b"ready\n"
    return process


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_gone(group):
    """Whether no process of a group is left; one that has ended and is not yet collected counts as gone."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return False
    return True


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_leaves_no_half_folder(tmp_path, number):
    process = start_script(
        """
from deeplab_tf.core.files import new_folder, replacing
with new_folder(sys.argv[1] + "/made"), replacing(sys.argv[1] + "/a.txt") as part:
    open(part, "w").close()
    print("ready", flush=True)
    time.sleep(60)
""",
        tmp_path,
    )
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (128 + number, b"ended\n") and os.listdir(str(tmp_path)) == []


TIDY_UP_SLOWLY = """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    time.sleep(0.3)
    print("tidy")
"""


@pytest.mark.parametrize("number", ENDING)
def test_a_second_signal_does_not_cut_the_orderly_end_short(number):
    process = start_script(TIDY_UP_SLOWLY)
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(number)
        time.sleep(0.01)
    assert process.communicate()[0] == b"tidy\nended\n" and process.returncode == 128 + number


def test_nohup_stays_nohup():
    process = start_script(TIDY_UP_SLOWLY, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert process.poll() is None
    process.terminate()
    assert process.communicate()[0] == b"tidy\nended\n" and process.returncode == 128 + signal.SIGTERM


STUCK = """
import ctypes, threading
signals.GRACE_S, library, mutex, go = 0.1, ctypes.CDLL(None), ctypes.create_string_buffer(128), threading.Event()
library.pthread_mutex_lock(mutex)
threading.Thread(target=lambda: (go.wait(), print("ready", flush=True)), daemon=True).start()
sys.setswitchinterval(1000)
go.set()
library.pthread_mutex_lock(mutex)
"""
"""No other thread runs until the main one is in the library's function, which never returns."""


def test_a_second_signal_ends_a_process_that_hangs_in_a_library():
    process = start_script(STUCK)
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.communicate(timeout=20)[0] == b"Interrupted.\n" and process.returncode == 128 + signal.SIGTERM


IN_A_DESTRUCTOR = """
class Late:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
late = Late()
del late
time.sleep(60)
"""


@pytest.mark.skipif(sys.version_info < (3, 8), reason="without sys.unraisablehook the interruption is lost")
def test_a_signal_in_a_destructor_is_not_lost():
    process = start_script(IN_A_DESTRUCTOR)
    process.terminate()
    assert process.communicate(timeout=20)[0] == b"ended\n" and process.returncode == 128 + signal.SIGTERM


def test_an_error_that_a_library_made_of_the_interruption_is_no_traceback(monkeypatch):
    from click_runner import CliRunner

    from deeplab_tf.cli import group
    from deeplab_tf.core import signals
    from deeplab_tf.deploy.doctor import software

    end = signals.OrderlyEnd()

    def swallow(*arguments, **options):
        try:
            end._interrupt(signal.SIGTERM, None)
        except KeyboardInterrupt as error:
            raise SystemError("initialization failed") from error

    monkeypatch.setattr(software, "find", swallow, raising=False)
    monkeypatch.setattr("deeplab_tf.cli.doctor.show", swallow)
    result = CliRunner().invoke(group, ["doctor"], obj=end)
    assert (result.exit_code, result.stderr) == (128 + signal.SIGTERM, "Interrupted.\n")


def test_training_stops_at_sighup_as_at_sigterm_and_once_for_many():
    from deeplab_tf.lab.training.stopping import StopSignal

    before = [signal.getsignal(number) for number in ENDING]
    with StopSignal() as stop:
        stop.worth_saving = True
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGHUP)  # the terminal sends one, and the shell another
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
    assert [signal.getsignal(number) for number in ENDING] == before


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("signals") / "bundle").path


def images(folder, count):
    for index in range(count):
        write_image(str(folder / f"{index:04d}.png"), tiny_bundle.frame(index))
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_predict_ends_between_two_whole_files(tmp_path, bundle, number):
    out = tmp_path / "out"
    process = start("-m", "deeplab_tf", "predict", bundle, images(tmp_path, 3), "--out", out, "--json", os.devnull)
    process.communicate()
    everything = {file.name: file.read_bytes() for file in out.iterdir()}
    slow = "import time; from deeplab_tf.deploy import model; predict = model.Model.predict\n"
    slow += "model.Model.predict = lambda *a, **k: (time.sleep(0.2), predict(*a, **k))[1]\n"
    slow += "from deeplab_tf.cli import main; main()"
    again = tmp_path / "again"
    process = start("-c", slow, "predict", bundle, tmp_path, "--out", again)
    wait_until(lambda: again.exists() and len(list(again.iterdir())) > 0)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number and output == b"Interrupted.\n"
    left = list(again.iterdir()) if again.exists() else []  # the signal came before the first file was whole
    for file in left:
        assert file.name == MANIFEST or file.read_bytes() == everything[file.name]


@pytest.mark.parametrize("number", ENDING)
def test_processes_of_sample_end_with_it_and_leave_nothing(tmp_path, number):
    out = tmp_path / "out"
    process = start("-m", "deeplab_tf", "sample", out, "--scenes", "500", "--size", "64x128", "--jobs", "2")
    wait_until(lambda: len(list(out.rglob("*.png"))) > 3)
    os.killpg(process.pid, number)  # as a terminal does
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number, output
    (line,) = output.splitlines()
    assert b"the same command draws the rest" in line and list(out.rglob("*.part*")) == []
    wait_until(lambda: is_gone(process.pid))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_processes_of_compare_end_with_it_and_leave_nothing(tmp_path, bundle, number):
    environment = streams.environment(TMPDIR=str(tmp_path))
    source = images(tmp_path, 2)
    command = ["-m", "deeplab_tf", "compare", bundle, "--source", source, "--runtimes", "onnx", "--seconds", "60"]
    process = start(*command, env=environment)
    wait_until(lambda: glob.glob(str(tmp_path / "deeplab-tf-compare-*" / "0" / "log")))
    time.sleep(0.2)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (128 + number, b"Interrupted.\n")
    assert glob.glob(str(tmp_path / "deeplab-tf-*")) == []
    wait_until(lambda: is_gone(process.pid))


def test_suspended_stream_has_lost_no_camera(tmp_path):
    """It is suspended for longer than a silent camera would count as lost."""
    bundle, lines = streams.write_bundle(tmp_path / "bundle"), tmp_path / "a.jsonl"
    with streams.NetworkCamera() as network:
        process = start(
            streams.__file__,
            *("stream", bundle, "--source", network.url, "--json-lines", lines, "--json", tmp_path / "a.json"),
            env=streams.environment(FAKE_STALL="1.2"),
        )
        wait_until(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 10)
        process.send_signal(signal.SIGSTOP)  # as Ctrl-Z; SIGTSTP stops only what a shell has started
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        before = lines.read_bytes().count(b"\n")
        wait_until(lambda: lines.read_bytes().count(b"\n") > before + 20)
        process.terminate()
        output, _ = process.communicate(timeout=20)
    report, rows = json.loads((tmp_path / "a.json").read_text()), list(map(json.loads, lines.read_text().splitlines()))
    assert process.returncode == 0 and report["reconnects"] == 0 and b"Attempt" not in output, output
    assert max(row["latency_ms"]["end_to_end"] for row in rows) < 2000
    assert report["seconds"] < rows[-1]["time"] - rows[0]["time"] - 1.5  # the clock on the wall went on


def test_clock_leaves_out_what_was_neither_seen_nor_computed(monkeypatch):
    now, processor = [0.0], [0.0]
    watch = clock._Watch()
    watch._thread = "none"
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(clock.time, "process_time", lambda: processor[0])
    for seconds, computed, suspended in [
        (0.3, 0.0, 0.0),  # between two looks
        (5.0, 4.9, 0.0),  # a library kept all threads from running
        (7.0, 0.01, 7.0),
        (0.9, 0.0, 7.0),
        (3.0, 0.0, 10.0),
    ]:
        now[0], processor[0] = now[0] + seconds, processor[0] + computed
        watch.look()
        assert watch.suspended == pytest.approx(suspended)
    assert watch.continued_at == pytest.approx(16.2 - 10.0)


def test_progress_leaves_a_suspension_out(monkeypatch, capsys):
    times, suspended = iter([0.0, 20.0, 1020.0]), iter([0.0, 0.0, 1000.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(progress, "suspended", lambda: next(suspended))
    bar = progress.progress(4, "train", unit="steps")
    bar.advance(2)
    bar.advance(1)  # 3 steps in 20 s awake
    assert capsys.readouterr().err.splitlines() == ["train: 2/4 steps, 0.10/s, 20.0 s left"]


def test_signals_raise_nothing_once_the_program_ends_in_an_order_of_its_own():
    """Else one that comes behind a stream's last frame would interrupt its end."""
    with OrderlyEnd() as end:
        end.has_begun()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert not end.interrupted
