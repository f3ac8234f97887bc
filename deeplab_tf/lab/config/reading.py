"""From a YAML file to a Config."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import say
from deeplab_tf.core.yaml_text import read, read_file
from deeplab_tf.lab.config.cross_checks import check_precision, check_training
from deeplab_tf.lab.config.renamed import refuse_old_names, with_new_names
from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import read_options
from deeplab_tf.lab.schema import WrongOption, show, validate

STEPS, SAVE_STEPS = ("training", "steps"), ("training", "save_steps")


def load(path: str | Path, overrides: Sequence[str] = (), *, to_train: bool = False, network: bool = True) -> Config:
    """Read a recipe.

    Args:
        path: of a YAML file.
        overrides: `section.key=value`, with the value in YAML; they override the file.
        to_train: also check what only a training uses, such as the crop against the size. Where an override shortens
            the training, the file's `save_steps` behind its end are left out, which is said.
        network: check the `model` section too, which takes Keras; without, it stays as it is.

    Raises:
        DeepLabError: the file cannot be read; a section, key or choice that does not exist (with what was meant); a key
            under an old name (with the new one); a wrong value. It names the line.
    """
    tree, lines = _sections(path)
    for override in overrides:
        _override(tree, lines, override)
    if to_train and lines.get(STEPS, 0) is None and lines.get(SAVE_STEPS) is not None:
        _leave_out_late_steps(tree["training"])
    with _placed(path, lines):
        return resolve(tree, to_train=to_train, network=network)


def _leave_out_late_steps(training):
    steps, saved = training["steps"], training["save_steps"]
    if not isinstance(steps, int) or not isinstance(saved, list) or not all(isinstance(step, int) for step in saved):
        return  # which the schema refuses
    late = [step for step in saved if step > steps]
    if late:
        training["save_steps"] = [step for step in saved if step <= steps]
        say(f"training.save_steps: left out {show(late)}, after the last step, {steps}.")


def load_run(run: str | Path) -> Config:
    """Read the recipe of a run, which may be of a version that had other names for keys. Raise DeepLabError as `load`
    does."""
    path = Path(run, "config.yaml")
    tree, lines = _sections(path)
    with _placed(path, lines):
        return _resolve(with_new_names(tree))


def resolve(tree: dict, *, to_train: bool = False, network: bool = True) -> Config:
    """Check a recipe's sections and fill in the defaults. Raise WrongOption as `load` raises DeepLabError."""
    refuse_old_names(tree)
    config = _resolve(tree, network=network)
    if to_train:
        check_training(config)
    return config


def _resolve(tree, network=True):
    config = validate(Config, {"data": {}, "model": {}, **tree}, "")
    check_precision(config)
    if not network:
        return config.model_copy(update={"data": read_options(config.data)})
    from deeplab_tf.lab.models.registry import read_model  # Keras

    return config.model_copy(update={"data": read_options(config.data), "model": read_model(config.model)})


@contextmanager
def _placed(path, lines: Mapping[tuple, int | None]) -> Iterator[None]:
    """Add the file, and the line where there is one, to the sentence of a wrong option."""
    try:
        yield
    except WrongOption as error:
        places = [error.path[:length] for length in range(len(error.path), 0, -1)]
        line = next((lines[place] for place in places if place in lines), 0)
        if line is None:  # of --set
            raise
        place = f"{path}, line {line}" if line else path
        raise DeepLabError(f"{place}: {error}") from error


def _sections(path) -> tuple[dict, dict]:
    """Return the sections of a file, and the line of each value by its path."""
    tree, lines = read_file(path)
    if isinstance(tree, dict):
        tree = {section: {} if keys is None else keys for section, keys in tree.items()}
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        raise DeepLabError(
            f"The recipe {path} must hold sections with keys (data, model, training, ...); got something else."
        )
    return tree, lines


def _override(tree, lines, override):
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise DeepLabError(f"--set takes section.key=value, such as training.steps=100. Got '{override}' instead.")
    tree.setdefault(section, {})[name] = read(text, f"--set {key}").value
    lines[section, name] = None
