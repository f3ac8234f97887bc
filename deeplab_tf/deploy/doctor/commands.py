"""Which commands work here."""

import os
from typing import Dict, List, NamedTuple, Optional

from deeplab_tf.deploy.doctor.parts import Part
from deeplab_tf.deploy.probe import PACKAGE

_PICTURES = ("numpy", "cv2")
NEEDS = {
    "sample": _PICTURES,
    "score": _PICTURES,
    "train": _PICTURES + ("lab",),
    "prepare": _PICTURES + ("lab",),
    "report": _PICTURES + ("lab",),
    "evaluate": _PICTURES + ("lab or runtime",),
    "predict": _PICTURES + ("lab or runtime",),
    "prune": _PICTURES + ("lab",),
    "convert": _PICTURES + ("lab", "export"),
    "budget": _PICTURES,
    "compare": _PICTURES + ("runtime",),
    "stream": _PICTURES + ("runtime",),
}
"""What each command cannot do without; a command that is not here needs nothing. "runtime" is any of them."""

EXTRAS = {
    "stream": (("tornado", "--serve"), ("windows", "--show")),
    "budget": (("lab", "a recipe"), ("export", "--measure")),
    "train": (("export", "quantization.aware"),),
}
"""What only an option or an argument of a command needs."""


class Command(NamedTuple):
    """`works` as of `Part`; `lacks`: what is missing, in words; `fix`: the lines to run, the first need first."""

    name: str
    works: Optional[bool]
    lacks: List[str]
    fixes: List[str]


def names() -> List[str]:
    """The commands, by their files; none is imported."""
    folder = os.path.join(PACKAGE, "deeplab_tf", "cli")
    stems = [os.path.splitext(name) for name in os.listdir(folder)]
    return sorted(
        stem.replace("_", "-") for stem, ending in stems if ending == ".py" and stem not in ("__init__", "options")
    )


def examine(parts: Dict[str, Part]) -> List[Command]:
    """Every command with what it lacks among the parts."""
    return [_command(name, parts) for name in names()]


def _command(name, parts):
    needs = [_need(need, parts) for need in NEEDS.get(name, ())]
    lacking = [part for part in needs if part.works is False] or [part for part in needs if part.works is None]
    works = not lacking if not lacking or lacking[0].works is False else None
    lacks, fixes = [part.text for part in lacking], [part.fix for part in lacking if part.fix]
    for need, option in EXTRAS.get(name, ()) if works else ():
        if parts[need].works is False:
            lacks.append(f"{option} needs {need}: {parts[need].text}")
            fixes += [parts[need].fix] if parts[need].fix else []
    return Command(name, works, lacks, list(dict.fromkeys(fixes)))


def _need(need, parts):
    """A part, named in its own words."""
    if need == "runtime":
        return _any_runtime(parts)
    if need == "lab or runtime":
        lab, runtime = parts["lab"], _any_runtime(parts)
        if lab.works or runtime.works:
            return Part(True, "")
        return Part(
            None if None in (lab.works, runtime.works) else False,
            f"for runs: {lab.text}; for bundles: {runtime.text}",
            lab.fix,
        )
    part = parts[need]
    return part._replace(text=f"{need}: {part.text}")


def _any_runtime(parts):
    runtimes = [part for name, part in parts.items() if name.startswith("runtime ")]
    if not runtimes:
        return parts.get("runtimes", Part(None, "the runtimes are not known"))
    if any(part.works for part in runtimes):
        return Part(True, "")
    onnx = parts.get("runtime onnx", runtimes[0])  # the one that every machine can have
    return Part(False, "no runtime works here", onnx.fix)
