"""Run a bundle on a Jetson (Python 3.6, no Keras): TensorRT where it is installed, frames per second, the road's share.
python3 docs/examples/jetson_bundle.py bundle csi://0"""

import sys
import time

import deeplab_tf

bundle, source = sys.argv[1:3]
limit = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
with deeplab_tf.load(bundle) as model, deeplab_tf.open_video(source) as video:  # "auto": tensorrt, tf_trt, onnx, ...
    print(model)
    start = time.time()
    for number, result in enumerate(model.predict(video), 1):
        shares = result.class_shares()
        fps = number / (time.time() - start)
        print(f"{fps:6.1f} frames/s   {model.classes[0]} {shares.get(model.classes[0], 0.0):.0%}")
        if number == limit:
            break
