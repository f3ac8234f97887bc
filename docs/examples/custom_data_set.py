"""Train on a dataset of your own: photos in ROOT/SPLIT/NAME.jpg, with a mask NAME.png that is white on the object.
python docs/examples/custom_data_set.py ROOT runs/objects"""

import sys
from pathlib import Path

import deeplab_tf
from deeplab_tf.core import image_files, labels
from deeplab_tf.lab.data.split import Sample, Split


class Masks(Split):
    table = labels.LabelTable.from_dicts([{"name": "rest", "color": (0, 0, 0)}, {"name": "object", "color": (9, 9, 9)}])

    def __init__(self, folder: Path):
        self.photos = sorted(folder.glob("*.jpg"))
        self.names = [photo.stem for photo in self.photos]

    def sample(self, index: int) -> Sample:
        mask = image_files.read_ids(self.photos[index].with_suffix(".png"))
        return Sample(image_files.read_image(self.photos[index]), (mask > 127).astype("uint8"))


def open_split(split: str, *, root: str) -> Masks:  # a recipe names this file as data.name
    return Masks(Path(root, split))


if __name__ == "__main__":
    data = {"name": Path(__file__).resolve(), "root": sys.argv[1], "size": [64, 64]}
    print(deeplab_tf.train({"data": data, "training": {"steps": 20, "batch_size": 4}}, run=sys.argv[2]))
