"""The machine itself: processor, GPU, memory, cameras, display, and a Jetson's software and clocks."""

import glob
import json
import os
import re
import shutil
from typing import Any, Dict, List, Optional

from deeplab_tf.core import processor
from deeplab_tf.deploy import device, jetpack


def facts(root: str = "/") -> Dict[str, Any]:
    """Return what the machine reports about itself, by name; None for what is unknown. `root` is the file system's."""
    memory, available = device.memory_mb(root)
    return dict(
        jetpack.describe(root),
        device=device.name(root),
        processor=device.processor(root),
        features=processor.features(root),
        memory_mb=memory,
        available_mb=available,
        free_disk_mb=shutil.disk_usage(os.getcwd()).free / 1e6,
        cuda=cuda(root),
        temperature_c=device.temperature_c(root),
        throttled=device.throttled(root),
        power_w=device.power_w(root),
        cameras=cameras(root),
        csi=os.path.exists(os.path.join(root, "usr/sbin/nvargus-daemon")),
        display=os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or None,
    )


def cuda(root: str = "/") -> Optional[str]:
    """Return the version of the CUDA toolkit in /usr/local/cuda."""
    folder = os.path.join(root, "usr/local/cuda")
    try:
        return json.loads(jetpack.read_text(folder, "version.json"))["cuda"]["version"]  # from 11.1 on
    except (ValueError, KeyError, TypeError):
        found = re.search(r"[\d.]+", jetpack.read_text(folder, "version.txt"))  # 10.2
        return found and found.group()


def cameras(root: str = "/") -> List[Dict[str, Any]]:
    """Return the video devices: `device`, `name`, and whether this user may `open` it."""
    found = []
    for place in sorted(glob.glob(os.path.join(root, "dev/video*"))):
        name = os.path.basename(place)
        title = jetpack.read_text(root, f"sys/class/video4linux/{name}/name")
        found.append({"device": f"/dev/{name}", "name": title, "open": os.access(place, os.R_OK | os.W_OK)})
    return found
