"""The sections of a recipe, one class each; every field is a key, with its type, default, range and meaning.

Three are elsewhere: `data` is `lab.data.DataOptions` and the dataset's own options, `model` is
`lab.models.registry.ModelOptions` and the network's arguments, `augment` is `lab.data.augment_options.Augmentation`.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import field_validator

from deeplab_tf.lab.data.augment_options import Augmentation
from deeplab_tf.lab.schema import BelowOne, Count, Fraction, Section, Weight, difference
from deeplab_tf.lab.yaml_text import dump


class Loss(Section):
    """Cross-entropy over the pixels that are not ignored and, for a network that predicts instances, the errors of its
    centers and offsets.

    `class_weights: log` is 1 / log(1.1 + share of the class in the training labels), `balanced` is 1 / share, at most
    50 times the least.
    """

    class_weights: Annotated[
        Literal["log", "balanced"] | tuple[Weight, ...] | None,
        "weights of the classes: a rule (see above), or a number for each",
    ] = None
    label_smoothing: Annotated[BelowOne, "share of a pixel's truth that is spread over all classes"] = 0.0
    ohem_ratio: Annotated[
        float, Gt(0), Le(1), "hard example mining: share of a batch's pixels, the hardest, that count"
    ] = 1.0
    focal_gamma: Annotated[
        float, Ge(0), Le(10), "focal loss ([Lin et al., 2017](https://arxiv.org/abs/1708.02002)): its exponent; 0: off"
    ] = 0.0
    dice_weight: Annotated[Weight, "weight of the Dice loss, which is added; 0: off"] = 0.0
    tversky_weight: Annotated[
        Weight,
        "weight of the Tversky loss ([Salehi et al., 2017](https://arxiv.org/abs/1706.05721)), which is added; 0: off",
    ] = 0.0
    tversky: Annotated[
        tuple[Annotated[float, Gt(0), Le(10)], Annotated[float, Gt(0), Le(10)]],
        "[alpha, beta]: weights of false positives and of misses in it",
    ] = (0.3, 0.7)
    auxiliary_weight: Annotated[Weight, "weight of the auxiliary head's loss"] = 0.4
    center_weight: Annotated[Weight, "weight of the mean squared error of the centers"] = 200.0
    offset_weight: Annotated[Weight, "weight of the mean absolute error, in pixels, of the offsets"] = 0.01
    center_sigma: Annotated[float, Ge(1), Le(256), "standard deviation of the Gaussian around a center, in pixels"] = (
        8.0
    )
    small_instance_threshold: Annotated[int, Ge(0), Le(100_000_000), "pixels below which an instance is small"] = 4096
    small_instance_weight: Annotated[
        float, Gt(0), Le(1_000_000), "weight of a small instance's pixels in its class"
    ] = 1.0

    @field_validator("class_weights")
    @classmethod
    def _not_all_zero(cls, weights):
        if isinstance(weights, tuple) and not any(weights):
            raise ValueError("must hold a weight above 0")
        return weights


class Distillation(Section):
    """Knowledge distillation from a trained network ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)).

    The teacher runs on the same augmented crops. With p and q the softmax of the teacher's and the student's logits,
    each divided by the temperature T, the loss of the classes is (1 - `weight`) x what `loss` says + `weight` x T^2 x
    KL(p, q), averaged over the pixels that are not ignored. Centers, offsets and the auxiliary head learn from the
    labels alone. `--resume` needs the teacher where it was.
    """

    run: Annotated[str | None, "the run of the teacher, with the same classes; its `best.keras` is used"] = None
    weight: Annotated[Fraction, "share of the teacher in the loss of the classes"] = 0.5
    temperature: Annotated[float, Ge(0.01), Le(1000), "softens both distributions: logits are divided by it"] = 2.0


class Optimizer(Section):
    """The optimizer and its learning rate.

    `muon` orthogonalizes the step of each convolution ([Jordan et al., 2024](https://kellerjordan.github.io/posts/muon/))
    and takes Adam's learning rates. Weight decay is added to the gradient by `sgd`, and decoupled, as in AdamW, with
    `adam` and `muon`; never on batch normalization, biases and depthwise kernels. A frozen stage keeps its statistics
    of batch normalization too, to the last bit.
    """

    name: Annotated[Literal["adam", "muon", "sgd"], "the optimizer"] = "adam"
    learning_rate: Annotated[float, Gt(0), Le(1000), "peak learning rate"] = 0.001
    schedule: Annotated[Literal["cosine", "poly", "constant"], "decay of the learning rate"] = "cosine"
    power: Annotated[float, Ge(0), Le(100), "exponent of `poly`"] = 0.9
    warmup_steps: Annotated[int, Ge(0), Le(10_000_000), "steps of linear warm-up, fewer than `training.steps`"] = 0
    momentum: Annotated[BelowOne, "momentum of `sgd`"] = 0.9
    weight_decay: Annotated[float, Ge(0), Le(100), "weight decay"] = 0.0
    backbone_lr_multiplier: Annotated[float, Ge(0), Le(1000), "multiplies the backbone's learning rate"] = 1.0
    freeze: Annotated[
        Literal["none", "res2", "res3", "res4", "backbone"],
        "what keeps its first weights: the whole backbone, or its stages up to and including this one",
    ] = "none"
    freeze_steps: Annotated[Count | None, "steps after which it is trained too; none: never"] = None
    clip_norm: Annotated[Annotated[float, Gt(0), Le(1_000_000)] | None, "clips the gradient to this global norm"] = None
    ema: Annotated[BelowOne | None, "momentum of an average of the weights, which is then scored and saved"] = None


class Training(Section):
    """Steps, precision, seed, and what is written when."""

    steps: Annotated[Count, "training steps; one step is one batch"] = 60_000
    batch_size: Annotated[int, Ge(1), Le(4096), "images in a batch"] = 16
    precision: Annotated[
        Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"],
        "Keras dtype policy; saved weights are float32. auto: what is fast on this machine, which the run then keeps",
    ] = "auto"
    gradient_precision: Annotated[
        Literal["float32", "float16"], "in which several workers send gradients: float16 is half as much, and rounds"
    ] = "float32"
    seed: Annotated[int, Ge(0), Lt(2**32), "fixes the first weights, the order of the images, and augmentation"] = 0
    validate_every: Annotated[
        Count, "steps between scores on `val`; the best network is `best.keras`, the newest `last.keras`"
    ] = 1000
    validation_images: Annotated[Count | None, "images of `val`, evenly spread, that are scored; none: all"] = None
    patience: Annotated[
        Count | None, "early stopping: end after this many scores in a row that are not above the best; none: never"
    ] = None
    checkpoint_every: Annotated[Count, "steps between the states that `--resume` continues from"] = 500
    save_steps: Annotated[
        tuple[Count, ...], "steps, up to the last, whose network is kept in `kept/`, for `deeplab-tf report`"
    ] = ()
    log_every: Annotated[Count, "steps between lines in `metrics.jsonl` and points in TensorBoard"] = 20
    deterministic: Annotated[bool, "the same weights each time, to the last bit; not possible on every GPU"] = True


class Quantization(Section):
    """Quantization-aware training (QAT, [Jacob et al., 2018](https://arxiv.org/abs/1712.05877)), for a network that
    loses too much accuracy with `deeplab-tf convert --int8`.

    It continues from the run that `model.weights` names, in float32, at about a tenth of its learning rate; that run
    can be the teacher too (`distillation.run`). Ranges are measured once and kept in the run as `ranges.json`, which
    `convert` uses. Statistics of batch normalization stay as they are. Validation scores the INT8 network.
    """

    aware: Annotated[bool, "train with INT8 rounding"] = False
    calibration: Annotated[
        Literal["min-max", "percentile", "entropy"] | None,
        "calibration method; none: that which agrees best with the float network",
    ] = None
    calibration_images: Annotated[int, Ge(1), Le(10_000), "training images to calibrate on"] = 100


class Config(Section):
    """A resolved recipe."""

    data: dict
    model: dict
    augment: Augmentation = Augmentation()
    loss: Loss = Loss()
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    quantization: Quantization = Quantization()

    @property
    def size(self) -> tuple[int, int]:
        """Height, width of the images that the network is trained and scored on."""
        return self.data["size"]

    @property
    def training_size(self) -> tuple[int, int]:
        """Height, width of the images that a training step sees."""
        return self.augment.crop or self.size

    def to_yaml(self) -> str:
        """Return the text from which `load` gives an equal Config."""
        return dump(self.model_dump(mode="json"))

    def difference(self, other: "Config") -> str | None:
        """Return the first key that changes the weights of each step and differs in another recipe, such as
        `optimizer.learning_rate: 0.1 there, 0.001 here`; None where none does."""
        here, there = self.model_dump(mode="json"), other.model_dump(mode="json")
        for section in here:
            for key in {**here[section], **there[section]}:
                found = difference(f"{section}.{key}", there[section].get(key), here[section].get(key))
                if found and f"{section}.{key}" not in WITHOUT_EFFECT:
                    return found
        return None


WITHOUT_EFFECT = (
    *("data.root", "data.manual_dir", "data.records"),
    *("training.log_every", "training.checkpoint_every", "training.steps", "training.patience"),
)
"""Keys with which a run may be continued that had other values: they change no step, or only how many there are."""
