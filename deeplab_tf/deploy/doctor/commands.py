"""Which commands work here."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from deeplab_tf.deploy.doctor.software import Component


class Requirements(NamedTuple):
    """What a command needs, by the names of components; see deeplab_tf.cli.

    Attributes:
        needs: what it cannot do without. "runtime" is any runtime.
        option_needs: option or argument -> what only it needs.
    """

    needs: Sequence[str] = ()
    option_needs: Mapping[str, str] = {}


class Command(NamedTuple):
    """What a command can do here.

    Attributes:
        works: as in `Component`.
        lacks: what is missing, for a person.
        fixes: the lines to run, the first need first.
    """

    name: str
    works: Optional[bool]
    lacks: List[str]
    fixes: List[str]


def examine(requirements: Mapping[str, Requirements], components: Dict[str, Component]) -> List[Command]:
    """Return every command with what it lacks.

    Args:
        requirements: by command.
        components: from `software.examine`.
    """
    return [_command(name, each, components) for name, each in requirements.items()]


def _command(name, requirements, components):
    needs = [_need(need, components) for need in requirements.needs]
    lacking = [each for each in needs if each.works is False] or [each for each in needs if each.works is None]
    works = lacking[0].works if lacking else True
    lacks, fixes = [each.text for each in lacking], [each.fix for each in lacking]
    for option, need in requirements.option_needs.items() if works else ():
        if components[need].works is False:
            lacks.append(f"{option} needs {need}: {components[need].text}")
            fixes.append(components[need].fix)
    return Command(name, works, lacks, list(dict.fromkeys(fix for fix in fixes if fix)))


def _need(need, components):
    """Return a component with its name in its text."""
    if need == "runtime":
        return _any_runtime(components)
    if need == "lab or runtime":
        lab, runtime = components["lab"], _any_runtime(components)
        if lab.works or runtime.works:
            return Component(True, "")
        works = None if None in (lab.works, runtime.works) else False
        return Component(works, f"for runs: {lab.text}; for bundles: {runtime.text}", lab.fix)
    return components[need]._replace(text=f"{need}: {components[need].text}")


def _any_runtime(components):
    runtimes = [each for name, each in components.items() if name.startswith("runtime ")]
    if not runtimes:
        return components.get("runtimes", Component(None, "the runtimes are not known"))
    if any(each.works for each in runtimes):
        return Component(True, "")
    onnx = components.get("runtime onnx", runtimes[0])  # the one that every machine can have
    return Component(False, "no runtime works here", onnx.fix)
