"""Soak test: kill and restart a network camera over and over while `deeplab-tf stream` shows it.

    python tools/check/soak_stream.py BUNDLE                                ten minutes, ten kills
    python tools/check/soak_stream.py BUNDLE --minutes 2 --kills 3 --json soak.json

The camera is rtsp_server.py, a real RTSP server; see there what to install. It is killed with SIGKILL. The stream
passes if it counts a reconnect for each kill; memory grows by less than 5 % after the first minute (or the first tenth
of a short test), and threads and descriptors do not; captured = shown + dropped + under way; no password and no token
is printed or in `ps`; and SIGTERM ends it within a second, with exit code 0 and no process left. All the while viewers
of its page come and go, ten a second, also while there is no frame, and every few seconds one waits for a frame.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import click

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rtsp_server.py")
SYSTEM_PYTHON = os.environ.get("SYSTEM_PYTHON", "/usr/bin/python3")
MEMORY_GROWTH = 1.05
DOWN_S = 2.0
"""Seconds until the camera is restarted."""


class Server:
    """The camera."""

    def __init__(self, size):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port, self.size = probe.getsockname()[1], size
        self.url = f"rtsp://user:secret@127.0.0.1:{self.port}/live"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, SERVER, str(self.port), self.size, "30"], stdout=subprocess.PIPE
        )
        if not self.process.stdout.readline():
            sys.exit("The RTSP server does not start; see tools/check/rtsp_server.py for what to install.")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Viewers(threading.Thread):
    """Ask for the video and go, ten times a second; every fiftieth stays until it has seen a frame.

    Attributes:
        gone, served: viewers that only came and went, and that got a frame.
        problems: what went wrong, such as a page that refused.
    """

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self._place, self._path = ("127.0.0.1", port), f"/video?token={token}"
        self._ended, self.gone, self.served, self.problems = threading.Event(), 0, 0, set()

    def run(self):
        while not self._ended.wait(0.1):
            try:
                self._view((self.gone + self.served) % 50 == 49)
            except OSError as error:
                if not self._ended.is_set():
                    self.problems.add(f"a viewer: {error}")

    def _view(self, stays):
        with socket.create_connection(self._place, timeout=30) as connection:
            connection.sendall(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            if not stays:
                self.gone += 1
                return
            seen, data = b"", b"..."
            while data and b"image/jpeg" not in seen and b" 503 " not in seen:
                data = connection.recv(4096)
                seen += data
            if b"image/jpeg" not in seen:
                self.problems.add(f"a viewer was refused: {seen[:40]!r}")
            self.served += 1

    def end(self):
        self._ended.set()


def look(pid):
    """Return (resident memory in MB, threads, descriptors) of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024.0, int(fields["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))


def command_line(pid):
    """Return what `ps` shows."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def children(pid):
    """Return the child processes."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except OSError:  # it has just ended
            continue
    return found


def wait_until(condition, process, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise click.ClickException(f"{what} within {seconds:.0f} s; the stream's exit code: {process.poll()}.")
        time.sleep(0.1)


def last_line(path):
    """Return the newest complete line of JSON, or None."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 8192))
        lines = file.read().split(b"\n")
    return json.loads(lines[-2]) if len(lines) > 2 else None


def page_port(process, log):
    """Return the port of the page, once it is printed."""

    def printed():
        with open(log, encoding="utf-8", errors="replace") as file:
            return re.search(r"The web page is at http://[^/]*:(\d+)/", file.read())

    wait_until(printed, process, 120, "No page")
    return int(printed().group(1))


def soak(process, server, lines, minutes, kills):
    """Kill the camera `kills` times, evenly. Return what `look` does after the first minute, and at the end."""
    wait_until(lambda: last_line(lines), process, 120, "No frame was shown")
    start, seconds, first, at_most = time.monotonic(), 60.0 * minutes, None, 0.0
    due = [seconds * (index + 1) / (kills + 1) for index in range(kills)]
    while time.monotonic() - start < seconds:
        time.sleep(0.25)
        now, seen = time.monotonic() - start, look(process.pid)
        if now > min(60.0, seconds / 10):
            first, at_most = first or seen, max(at_most, seen[0])
        if due and now > due[0]:
            due.pop(0)
            server.kill()
            time.sleep(DOWN_S)
            server.start()
            done = kills - len(due)
            wait_until(
                lambda done=done: last_line(lines)["reconnects"] >= done, process, 60, f"Reconnect {done} did not come"
            )
            memory, threads, files = look(process.pid)
            state = f"{memory:.1f} MB, {threads} threads, {files} descriptors"
            click.echo(f"{now:4.0f} s: {done} kills, {done} reconnects, {state}")
    return {"first": first, "last": look(process.pid), "most_memory_mb": at_most}


def verdict(report, seen, kills, code, ended_s, left, texts, token):
    """Return the problems, one sentence each."""
    growth = seen["last"][0] / seen["first"][0]
    checks = [
        (report["reconnects"] == kills, f"{kills} kills, but {report['reconnects']} reconnects"),
        (
            report["captured"] == report["frames"] + report["dropped"] + report["under_way"],
            "captured is not shown + dropped + under way",
        ),
        (growth < MEMORY_GROWTH, f"memory grew by {100 * (growth - 1):.1f} %"),
        (seen["last"][1] <= seen["first"][1], f"{seen['first'][1]} threads became {seen['last'][1]}"),
        (code == 0, f"exit code {code}"),
        (ended_s < 1.5, f"SIGTERM took {ended_s:.1f} s (1 s, and the interpreter's own end)"),
        (not left, f"processes left: {left}"),
        (seen["last"][2] <= seen["first"][2] + 3, f"{seen['first'][2]} descriptors became {seen['last'][2]}"),
        (b":secret@" not in texts, "the password was shown"),
        (texts.count(token.encode()) == 1, "the token was shown more than once"),
    ]
    return [sentence for good, sentence in checks if not good]


@click.command()
@click.argument("bundle", type=click.Path(exists=True))
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--kills", type=int, default=10, show_default=True)
@click.option("--size", default="256x512", show_default=True, help="Height x width of the camera's frames.")
@click.option("--runtime", default="auto", show_default=True)
@click.option("--program", help="Run this Python file in place of deeplab-tf.")
@click.option("--json", "json_target", type=click.Path(), help="Also write the result.")
def main(bundle, minutes, kills, size, runtime, program, json_target):
    """Test that `deeplab-tf stream` survives its camera; exit 1 if anything fails."""
    with tempfile.TemporaryDirectory() as folder:
        lines, out, log = (os.path.join(folder, name) for name in ("lines.jsonl", "report.json", "log"))
        server = Server(size)
        command = [sys.executable] + ([program] if program else ["-m", "deeplab_tf"])
        command += ["stream", bundle, "--source", server.url, "--runtime", runtime, "--json-lines", lines]
        command += ["--json", out, "--save", os.path.join(folder, "out.mp4"), "--serve", "0"]
        token = secrets.token_urlsafe(16)
        with open(log, "wb") as file:
            environment = dict(os.environ, DEEPLAB_TF_TOKEN=token)
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            viewers = Viewers(page_port(process, log), token)
            viewers.start()
            seen = soak(process, server, lines, minutes, kills)
            shown = command_line(process.pid)
            viewers.end()
            family = children(process.pid)
            process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            code = process.wait(30)
            ended_s = time.monotonic() - start
        finally:
            server.kill()
            process.kill()
        left = [pid for pid in family if os.path.exists(f"/proc/{pid}")]
        with open(out, encoding="utf-8") as file:
            report = json.load(file)
        with open(log, "rb") as file:
            problems = verdict(report, seen, kills, code, ended_s, left, file.read() + shown, token)
    problems += sorted(viewers.problems)
    found = dict(seen, problems=problems, end_s=ended_s, viewers_gone=viewers.gone, viewers_served=viewers.served)
    found.update({key: report[key] for key in ("reconnects", "frames", "dropped")})
    (first_mb, first_threads, first_files), (last_mb, last_threads, last_files) = seen["first"], seen["last"]
    click.echo(
        f"{found['reconnects']} reconnects, {found['frames']} frames shown, {found['dropped']} dropped; "
        f"{first_mb:.1f} MB, {first_threads} threads and {first_files} descriptors became {last_mb:.1f} MB, "
        f"{last_threads} and {last_files}; {viewers.gone} viewers came and went, {viewers.served} saw a frame; "
        f"ended in {ended_s:.2f} s."
    )
    if json_target:
        with open(json_target, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)
    if problems:
        raise click.ClickException("; ".join(problems) + ".")
    click.echo("Passed.")


if __name__ == "__main__":
    main()
