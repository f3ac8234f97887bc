"""Export a run to ONNX, and run the file with ONNX Runtime and NumPy alone, as on a machine without deeplab_tf.
python docs/examples/onnx_elsewhere.py demo/run bundle street.jpg"""

import sys

import cv2
import numpy as np
import onnxruntime


def run(model: str, image: np.ndarray) -> np.ndarray:
    """Return the label map of an RGB image, at the network's size."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (network_input,) = session.get_inputs()  # float32, (1, H, W, 3), RGB 0..255; normalization is in the graph
    height, width = network_input.shape[1:3]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return session.run(["labels"], {network_input.name: resized[None]})[0][0]


if __name__ == "__main__":
    import deeplab_tf  # for the export only

    trained, bundle, path = sys.argv[1:]
    deeplab_tf.convert(trained, bundle, target="onnx")
    labels = run(bundle + "/model.onnx", cv2.imread(path)[..., ::-1])
    print("classes and their pixels:", dict(zip(*(each.tolist() for each in np.unique(labels, return_counts=True)))))
