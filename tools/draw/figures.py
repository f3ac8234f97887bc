"""Draw the images of the README and the documentation.

python tools/draw/figures.py docs                                       # scenes.jpg
python tools/draw/figures.py docs --run demo/run                        # segmented.jpg, prediction.jpg
python tools/draw/figures.py docs --panoptic-run runs/sample_panoptic   # panoptic.jpg
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click

from deeplab_tf.cli.options import show
from deeplab_tf.core import draw
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.image_files import resize_image, write_image
from deeplab_tf.synth import draw_scene

SIZE = (256, 512)
COLUMNS, ROWS = 2, 4
PANOPTIC_SIZE = (820, 1536)


def scenes_figure(seed):
    """The first scenes of a seed, each beside its label, with a legend."""
    rows = []
    for row in range(ROWS):
        panels = []
        for index in range(row * COLUMNS, (row + 1) * COLUMNS):
            scene = draw_scene(seed, index, SIZE)
            panels += [scene.image, draw.colorize(CITYSCAPES_TO_CLASS[scene.label_ids], CITYSCAPES)]
        rows.append(draw.side_by_side(panels))
    figure = draw.stacked(rows)
    return draw.side_by_side([figure, draw.legend(figure.shape[0], CITYSCAPES)])


def segmented_figure(run, name):
    """One validation scene, its predicted labels, and both over each other."""
    from deeplab_tf.core.prediction import predict
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(run)
    split = open_run_split(runtime.config, "val")
    (index,) = (i for i, each in enumerate(split.names) if name in each)
    image = split.sample(index).image
    label_map = predict(runtime, image).label_map
    panels = [image, draw.colorize(label_map, split.table), draw.overlay(image, label_map, split.table)]
    return draw.side_by_side(panels, ["image", "predicted labels", "overlay"])


def prediction_figure(run, count):
    """Validation scenes, evenly spread and not chosen: image, truth, prediction."""
    from deeplab_tf.core.prediction import predict
    from deeplab_tf.lab.evaluation.checkpoints import spread_indices
    from deeplab_tf.lab.evaluation.figures import comparison, truth_title
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(run)
    split = open_run_split(runtime.config, "val")
    rows = []
    for index in spread_indices(len(split), count):
        frame = split.sample(index)
        label_maps = [
            (frame.label_map, truth_title(split.table)),
            (predict(runtime, frame.image).label_map, "prediction"),
        ]
        rows.append((frame.image, split.names[index].split("/")[-1], label_maps))
    return comparison(rows, split.table)


def panoptic_figure(run, count):
    """Validation scenes, evenly spread and not chosen, things outlined: truth, prediction, and components of the
    predicted labels."""
    from deeplab_tf.core.panoptic.grouping import components, to_panoptic
    from deeplab_tf.lab.evaluation.checkpoints import spread_indices
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(run)
    split = open_run_split(runtime.config, "val")
    rows = []
    for index in spread_indices(len(split), count):
        frame = split.sample(index)
        prediction = runtime.predict(frame.image)
        ways = (
            split.panoptic_map(index),
            to_panoptic(prediction, split.table)[0],
            components(prediction.label_map, split.table),
        )
        panels = []
        for label_map, panoptic in zip((frame.label_map, prediction.label_map, prediction.label_map), ways):
            figure = draw.overlay(frame.image, label_map, split.table)
            draw.outline(figure, panoptic)
            panels.append(figure)
        rows.append(draw.side_by_side(panels, ["truth", "Panoptic-DeepLab", "connected components of the same labels"]))
    return resize_image(draw.stacked(rows), PANOPTIC_SIZE)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--run", metavar="DIR", help="Draw predictions of this run, such as the demo's.")
@click.option("--panoptic-run", metavar="DIR", help="Draw instances of this run of configs/sample_panoptic.yaml.")
@click.option("--seed", default=1, show_default=True, help="Seed of the scenes; the demo draws with 1.")
@click.option("--scene", default="000239", show_default=True, help="Validation scene of segmented.jpg.")
@click.option("--frames", default=4, show_default=True, help="Number of predictions.")
def main(folder, run, panoptic_run, seed, scene, frames):
    """Draw the images into FOLDER."""
    figures = {"scenes.jpg": lambda: scenes_figure(seed)}
    if run is not None:
        figures["segmented.jpg"] = lambda: segmented_figure(run, scene)
        figures["prediction.jpg"] = lambda: prediction_figure(run, frames)
    if panoptic_run is not None:
        figures["panoptic.jpg"] = lambda: panoptic_figure(panoptic_run, frames - 1)
    for name, figure in figures.items():
        path = os.path.join(folder, name)
        write_image(path, figure())
        show(f"Drew {path}")


if __name__ == "__main__":
    main()
