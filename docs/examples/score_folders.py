"""Score the label files of any program: PNG files of class ids, the same names in both folders (255 is ignored).
python docs/examples/score_folders.py TRUTH PREDICTED road,car,sky"""

import sys

from deeplab_tf.core.metrics.label_folders import score_id_folders

truth, predicted, names = sys.argv[1:]
report = score_id_folders(truth, predicted, names=names.split(","))
for name, iou in report["iou"].items():
    print(f"{name:20} {'-' if iou is None else format(iou, '.3f')}")
print(f"mIoU {report['miou']:.3f}, pixel accuracy {report['pixel_accuracy']:.3f} on {report['images']} images")
