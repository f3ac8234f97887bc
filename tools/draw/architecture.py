"""Draw the network of a recipe.

python tools/draw/architecture.py configs/cityscapes_resnet50.yaml docs/architecture.png
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click

from deeplab_tf.cli.options import show


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@click.argument("figure", type=click.Path(dir_okay=False))
@click.option("--classes", default=19, show_default=True, help="Number of classes.")
def main(recipe, figure, classes):
    """Draw the network of RECIPE as boxes and arrows into FIGURE (PNG or SVG)."""
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.models.diagram import architecture_figure
    from deeplab_tf.lab.models.registry import build_network

    config = load(recipe)
    architecture_figure(build_network(config.model, classes), config.size).savefig(figure, dpi=130)
    show(f"Drew {figure}")


if __name__ == "__main__":
    main()
