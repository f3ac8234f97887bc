"""`deeplab-tf doctor`: what this machine has, and what it can run."""

import click

from deeplab_tf.cli.options import example, json_option, show, verbose_option, write_json


@click.command(epilog=example("deeplab-tf doctor", "deeplab-tf doctor --json - --limit 60"))
@click.option(
    "--limit",
    type=click.FloatRange(0.1),
    default=4.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each part may take to load; TensorFlow takes half a minute on a small Jetson.",
)
@json_option
@verbose_option
def command(limit, json_target, verbose):
    """Says what this machine has, what each command can do with it, and the line to run where something is missing."""
    from deeplab_tf.deploy import jetpack
    from deeplab_tf.deploy.doctor import commands, machine, parts
    from deeplab_tf.deploy.doctor.text import text

    gpu, software = parts.examine(seconds=limit)
    found = dict(machine.facts(), gpu=gpu)
    able, advice = commands.examine(software), jetpack.problems()
    show(text(found, software, able, advice), json_target)
    report = {"machine": found, "parts": {name: part._asdict() for name, part in software.items()}, "advice": advice}
    report["commands"] = {each.name: {"works": each.works, "lacks": each.lacks, "fixes": each.fixes} for each in able}
    write_json(report, json_target)
