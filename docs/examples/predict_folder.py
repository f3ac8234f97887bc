"""Predict every image of a folder: an overlay beside each, and the classes that it shows.
python docs/examples/predict_folder.py demo/bundle photos overlays"""

import sys
from pathlib import Path

import deeplab_tf

model_path, images, out = sys.argv[1:]
paths = sorted(path for path in Path(images).rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
with deeplab_tf.load(model_path) as model:
    for result in model.predict(paths):
        name = Path(result.path).stem
        result.save(Path(out, f"{name}_overlay.jpg"))
        result.save(Path(out, f"{name}.png"), format="ids")
        print(name, ", ".join(f"{label} {share:.1%}" for label, share in result.class_shares().items()))
