"""Train from Python with a Keras callback of your own: it prints losses and scores, and stops at a mIoU of 0.6.
python docs/examples/train_with_callback.py configs/sample_small.yaml demo/scenes runs/first"""

import sys

import keras

import deeplab_tf


class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 0:
            print(f"step {batch + 1}: loss {logs['loss']:.3f}")

    def on_test_end(self, logs=None):  # after each validation
        print("mIoU", logs["miou"])
        if logs["miou"] and logs["miou"] > 0.6:
            self.model.stop_training = True  # the run is scored and saved


if __name__ == "__main__":
    recipe, root, run = sys.argv[1:4]
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else 200
    changes = {"data": {"root": root}, "training": {"steps": steps, "validate_every": max(1, steps // 4)}}
    print(deeplab_tf.train(recipe, run=run, callbacks=[Watch()], **changes))
