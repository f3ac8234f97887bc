"""deeplab-tf train: from a recipe to a run."""

import os

import click

from deeplab_tf.cli.options import example, json_option, show, verbose_option, write_json
from deeplab_tf.errors import DeepLabError


@click.command(
    epilog=example("deeplab-tf train configs/camvid_resnet50_small.yaml --set data.root=CAMVID", "deeplab-tf train RECIPE --run runs/first --resume")
)
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change a value of the recipe, such as training.steps=100; repeatable.")
@click.option("--run", "run_dir", metavar="DIR", help="Where the run goes. Default: runs/NAME, after the recipe's file name.")
@click.option("--resume", is_flag=True, help="Continue a run that was interrupted.")
@json_option
@verbose_option
def command(config, overrides, run_dir, resume, json_target, verbose):
    """Train a network by the recipe CONFIG (YAML).

    Writes a run: config.yaml (resolved), best.keras, checkpoints, TensorBoard logs, metrics.jsonl. Ctrl-C saves the state; --resume
    goes on from there, and ends with the same weights as a run that was never interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pathlib import Path

    from deeplab_tf.training.callbacks import Interrupted
    from deeplab_tf.training.config import load
    from deeplab_tf.training.fit import train

    if not os.path.isfile(config):
        raise DeepLabError("There is no recipe {}; those that come with deeplab_tf lie in configs/.".format(config))
    recipe = load(config, overrides)
    run = Path(run_dir or os.path.join("runs", Path(config).stem))
    try:
        result = train(recipe, run, resume=resume)
    except Interrupted as interrupted:
        show("Interrupted after step {}; the state is saved. Continue with: {}".format(interrupted.args[0], _again(config, overrides, run)))
        raise SystemExit(130) from interrupted
    show("{}: {} steps, best validation mIoU {:.4f}. Score it with: deeplab-tf evaluate {}".format(run, result["step"], result["best_miou"], run))
    write_json({"run": str(run), **result}, json_target)


def _again(config, overrides, run):
    settings = "".join(" --set {}".format(override) for override in overrides)
    return "deeplab-tf train {}{} --run {} --resume".format(config, settings, run)
