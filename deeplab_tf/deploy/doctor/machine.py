"""The machine itself: processor, GPU, memory, cameras, display, and a Jetson's software and clocks."""

import glob
import json
import os
import re
import shutil
from typing import Dict, List, Optional

from deeplab_tf.deploy import device, jetpack


def facts(root: str = "/") -> Dict[str, object]:
    """What the machine says of itself, by name; None for what it does not tell. `root` is where the file system
    begins."""
    memory, available = device.memory_mb(root)
    found = {"device": device.name(root), "processor": device.processor(root)}
    found.update(memory_mb=memory, available_mb=available, free_disk_mb=shutil.disk_usage(os.getcwd()).free / 1e6)
    found.update(jetpack.describe(root))
    found.update(
        cuda=cuda(root),
        temperature_c=device.temperature_c(root),
        throttled=device.throttled(root),
        power_w=device.power_w(root),
    )
    found.update(
        cameras=cameras(root), csi=os.path.exists(os.path.join(root, "usr/sbin/nvargus-daemon")), display=display()
    )
    return found


def cuda(root: str = "/") -> Optional[str]:
    """The version of the CUDA toolkit in /usr/local/cuda."""
    folder = os.path.join(root, "usr/local/cuda")
    try:
        with open(os.path.join(folder, "version.json"), encoding="utf-8") as file:  # from 11.1 on
            return json.load(file)["cuda"]["version"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        with open(os.path.join(folder, "version.txt"), encoding="utf-8") as file:  # 10.2
            found = re.search(r"[\d.]+", file.read())
            return found and found.group()
    except OSError:
        return None


def cameras(root: str = "/") -> List[Dict[str, object]]:
    """Video devices: `device`, `name`, and whether this person may `open` it."""
    found = []
    for place in sorted(glob.glob(os.path.join(root, "dev/video*"))):
        name = os.path.basename(place)
        try:
            with open(
                os.path.join(root, "sys/class/video4linux", name, "name"), encoding="utf-8", errors="replace"
            ) as file:
                title = file.read().strip()
        except OSError:
            title = ""
        found.append({"device": "/dev/" + name, "name": title, "open": os.access(place, os.R_OK | os.W_OK)})
    return found


def display() -> Optional[str]:
    """Where windows would appear; None without a screen."""
    return os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or None
