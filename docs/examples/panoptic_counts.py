"""Count instances (cars, people, ...) in a video, one CSV row a frame; a panoptic bundle counts predicted instances.
python docs/examples/panoptic_counts.py bundle street.mp4 counts.csv"""

import csv
import sys

import deeplab_tf

bundle, source, out = sys.argv[1:]
with deeplab_tf.load(bundle) as model, deeplab_tf.open_video(source) as video, open(out, "w", newline="") as file:
    things = [label.name for label in model.table if label.thing]
    rows = csv.DictWriter(file, ["frame", *things], restval=0)
    rows.writeheader()
    for number, result in enumerate(model.predict(video)):
        rows.writerow({"frame": number, **result.instance_counts()})
print(f"Counts of {', '.join(things)} are in {out}")
