"""Keys of recipes that have another name today."""

from deeplab_tf.lab.schema import WrongOption

RENAMED = {
    "loss.hard_pixels": "loss.ohem_ratio",
    "loss.small_thing_area": "loss.small_instance_threshold",
    "loss.small_thing_weight": "loss.small_instance_weight",
    "optimizer.backbone_rate": "optimizer.backbone_lr_multiplier",
    "training.keep": "training.save_steps",
}


def refuse_old_names(tree: dict) -> None:
    """Raise WrongOption for keys under old names, with the new ones."""
    old = [key for key in RENAMED if _holds(tree, key)]
    if old:
        changes = ", ".join(f"{key} is now {RENAMED[key]}" for key in old)
        raise WrongOption(f"The recipe has keys that were renamed: {changes}. Change them.", tuple(old[0].split(".")))


def with_new_names(tree: dict) -> dict:
    """Return the sections with today's names."""
    sections = {section: dict(options) for section, options in tree.items()}
    for old, new in RENAMED.items():
        if _holds(tree, old):
            section, name = old.split(".")
            sections[section][new.split(".")[1]] = sections[section].pop(name)
    return sections


def _holds(tree, key):
    section, name = key.split(".")
    return name in tree.get(section, ())
