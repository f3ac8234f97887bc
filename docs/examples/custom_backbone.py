"""A backbone of your own: features at strides 4, 8, 16 and 16, in a file that a recipe names as model.backbone.
python docs/examples/custom_backbone.py"""

from pathlib import Path

from keras import layers

import deeplab_tf

NORMALIZATION = {"mean": (127.5,) * 3, "std": (127.5,) * 3}  # of the pixels that `build` gets
STAGES = (("res1", 32, 2), ("res2", 64, 2), ("res3", 128, 2), ("res4", 256, 2), ("res5", 512, 1))


def build(image, *, width=1.0, output_stride=16, multi_grid=(1, 1, 1), momentum=0.99) -> dict:
    """Return the features of every stage by name."""
    if output_stride != 16:
        raise deeplab_tf.DeepLabError(f"Got {output_stride} for model.output_stride; this backbone makes 16 only.")
    features, x = {}, image
    for name, channels, stride in STAGES:
        x = layers.ZeroPadding2D(1)(x)  # alike on both sides, unlike "same": as the upsampling expects
        x = layers.SeparableConv2D(int(channels * width), 3, strides=stride, use_bias=False)(x)
        features[name] = x = layers.ReLU()(layers.BatchNormalization(momentum=momentum)(x))
    return features


if __name__ == "__main__":
    backbone = str(Path(__file__).resolve())
    model = deeplab_tf.build_model("deeplab_v3_plus", 19, backbone=backbone, size=(128, 256), width=0.5)
    print(f"{model.count_params():,} parameters, logits {model.output['logits'].shape}")
    print(f"In a recipe:  model: {{backbone: {backbone}, width: 0.5}}")
