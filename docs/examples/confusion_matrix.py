"""Plot the confusion matrix of a network on a folder of images and a folder of their class ids (PNG, the same names).
python docs/examples/confusion_matrix.py demo/bundle IMAGES LABELS confusion.png"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

import deeplab_tf
from deeplab_tf.core.image_files import read_ids
from deeplab_tf.core.metrics.confusion import ConfusionMatrix

model_path, images, labels, out = sys.argv[1:]
with deeplab_tf.load(model_path) as model:
    confusion = ConfusionMatrix(len(model.classes))
    for result in model.predict(sorted(Path(images).glob("*.png"))):
        confusion.update(read_ids(Path(labels, Path(result.path).name)), result.label_map)
counts = confusion.matrix[:, :-1]  # rows: truth, columns: prediction; the last column is "no class"
plt.imshow(counts / counts.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
plt.xticks(range(len(model.classes)), model.classes, rotation=90)
plt.yticks(range(len(model.classes)), model.classes)
plt.xlabel("predicted")
plt.ylabel("truth")
plt.title(f"mIoU {confusion.miou():.3f}")
plt.savefig(out, bbox_inches="tight")
