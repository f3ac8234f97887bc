"""What the processor is and what it computes fast: its features, by one set of names on x86-64 and on aarch64."""

import importlib
import os
import platform
import re
from typing import Dict, FrozenSet, List, Sequence, Tuple

FEATURES: Dict[str, Tuple[str, ...]] = {
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx512vnni", "avx_vnni"),
    "bfloat16": ("avx512_bf16", "avx512bf16", "bf16"),
    "AMX bfloat16": ("amx_bf16",),
    "AMX INT8": ("amx_int8",),
    "NEON": ("neon", "asimd"),
    "dot product": ("asimddp", "dotprod"),
    "i8mm": ("i8mm",),
    "SVE": ("sve",),
}
"""A feature and the flags that stand for it, in Linux's spelling or NumPy's, in lower case."""

_ARM_IMPLEMENTERS = {"0x41": "ARM", "0x4e": "NVIDIA", "0x51": "Qualcomm", "0x61": "Apple", "0xc0": "Ampere"}


def features(root: str = "/") -> List[str]:
    """Return the processor's features, of FEATURES, in their order.

    They are those that all cores have, by the flags in /proc/cpuinfo. Where that file is missing or has none (another
    system, some containers), they are what NumPy has found, which knows nothing of AMX and of bfloat16.
    """
    flags = _flags(_read(root)) or (_numpys() if root == "/" else frozenset())
    return [name for name, words in FEATURES.items() if flags.intersection(words)]


def model_name(root: str = "/") -> str:
    """Return the processor's name, such as "AMD EPYC 9R14"; "" where it is not known."""
    values = _values(_read(root))
    for key in ("model name", "Hardware", "Model"):
        if values.get(key):
            return values[key][0]
    maker, part = (values.get(key, [""])[0] for key in ("CPU implementer", "CPU part"))  # aarch64 gives numbers alone
    named = f"{_ARM_IMPLEMENTERS.get(maker.lower(), maker)} {part}".strip()
    return named or (platform.processor() or platform.machine() if root == "/" else "")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores(root: str = "/") -> int:
    """Return how many cores this process may use; hyperthreads of one core count once."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
    found = set()  # by the text that its threads share
    for cpu in usable:
        try:
            place = os.path.join(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            with open(place, encoding="ascii") as file:
                found.add(file.read().strip())
        except OSError:
            found.add(str(cpu))
    return len(found)


def has_fast_bfloat16(found: Sequence[str]) -> bool:
    """Return whether training in bfloat16 is fast on a processor of these features; elsewhere TensorFlow emulates it.

    bfloat16 on aarch64 is not measured, and counts as slow.
    """
    return "AMX bfloat16" in found or ("AVX-512" in found and "bfloat16" in found)


def _read(root) -> str:
    try:
        with open(os.path.join(root, "proc/cpuinfo"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _values(text) -> Dict[str, List[str]]:
    """Return the values of each key, one a core."""
    found: Dict[str, List[str]] = {}
    for key, value in re.findall(r"^([^\t:\n]+?)[ \t]*:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def _flags(text) -> FrozenSet[str]:
    """Return the flags that every core has, in lower case."""
    values = _values(text)
    sets = [frozenset(line.lower().split()) for key in ("flags", "Features") for line in values.get(key, [])]
    return frozenset.intersection(*sets) if sets else frozenset()


def _numpys() -> FrozenSet[str]:
    """Return the flags that NumPy knows, which has asked the processor itself."""
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # NumPy 2 and 1
        try:
            found = importlib.import_module(name).__cpu_features__
        except (ImportError, AttributeError):
            continue
        return frozenset(flag.lower() for flag, there in found.items() if there)
    return frozenset()
