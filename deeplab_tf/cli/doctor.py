"""`deeplab-tf doctor`: what this machine has, and what it can run."""

import importlib

import click

from deeplab_tf.cli.options import FloatRange, example, json_option, new_guard, show, verbose_option, write_json


@click.command(epilog=example("deeplab-tf doctor", "deeplab-tf doctor --json - --limit 60"))
@click.option(
    "--limit",
    type=FloatRange(0.1, 3600),
    default=4.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for loading each package; TensorFlow takes half a minute on a small Jetson.",
)
@json_option
@verbose_option
def command(limit, json_target, verbose):
    """Show what this machine has, what each command can do with it, and how to install what is missing."""
    new_guard(json_target).check()
    from deeplab_tf.deploy import jetpack
    from deeplab_tf.deploy.doctor import commands, machine, software
    from deeplab_tf.deploy.doctor.summary import summary

    gpu, components = software.examine(seconds=limit)
    found = dict(machine.facts(), gpu=gpu)
    able, advice = commands.examine(requirements(), components), jetpack.problems()
    show(summary(found, components, able, advice), json_target)
    report = {"machine": found, "software": {name: each._asdict() for name, each in components.items()}}
    report["commands"] = {each.name: {"works": each.works, "lacks": each.lacks, "fixes": each.fixes} for each in able}
    write_json(dict(report, advice=advice), json_target)


def requirements():
    """Return the `Requirements` of every command, from the constants NEEDS and OPTION_NEEDS of its file."""
    from deeplab_tf.cli import group
    from deeplab_tf.deploy.doctor.commands import Requirements

    found = {}
    for name in group.list_commands(None):
        module = importlib.import_module(f"deeplab_tf.cli.{name.replace('-', '_')}")
        found[name] = Requirements(getattr(module, "NEEDS", ()), getattr(module, "OPTION_NEEDS", {}))
    return found
