"""Status messages to systemd (sd_notify(3)), for a unit with Type=notify and WatchdogSec=."""

import os
import socket
import time


class SystemdNotifier:
    """Sends to systemd's socket; does nothing where there is none."""

    def __init__(self):
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._last = 0.0

    def ready(self) -> None:
        """Report that the network is loaded and the stream begins."""
        self._send("READY=1")

    def heartbeat(self) -> None:
        """Report that the stream is alive, at most once a second."""
        if self._address and time.monotonic() - self._last >= 1.0:
            self._last = time.monotonic()
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the stream ends."""
        self._send("STOPPING=1")

    def _send(self, text):
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            try:
                connection.sendto(text.encode(), address)
            except OSError:
                self._address = ""  # nobody listens any more
