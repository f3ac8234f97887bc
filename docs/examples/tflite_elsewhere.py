"""Run a .tflite file of a bundle with LiteRT and NumPy alone, as on a machine without deeplab_tf.
python docs/examples/tflite_elsewhere.py bundle/model_int8.tflite street.jpg"""

import sys

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model, path = sys.argv[1:]
network = Interpreter(model)
network.allocate_tensors()
(image,), labels = network.get_input_details(), network.get_output_details()[0]
height, width = image["shape"][1:3]  # uint8, (1, H, W, 3), RGB; normalization is in the graph
frame = cv2.resize(cv2.imread(path)[..., ::-1], (int(width), int(height)), interpolation=cv2.INTER_AREA)
network.set_tensor(image["index"], frame[None])
network.invoke()
label_map = network.get_tensor(labels["index"])[0]
print("classes and their pixels:", dict(zip(*(each.tolist() for each in np.unique(label_map, return_counts=True)))))
