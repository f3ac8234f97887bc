"""The sections of a recipe, one class each; every field is a key, with its type, default, range and meaning.

Three are elsewhere: `data` is `lab.data.DataOptions` and the data set's own options, `model` is
`lab.models.recipe.ModelOptions` and the network's arguments, `augment` is `lab.data.augment.Augmentation`.
"""

from typing import Literal

import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from deeplab_tf.lab.data.augment import Augmentation
from deeplab_tf.lab.schema import BelowOne, Fraction, Section, show


class Loss(Section):
    """Cross-entropy over the pixels that are not ignored and, for a network that predicts instances, the errors of its
    centers and offsets."""

    class_weights: Literal["log", "balanced"] | tuple[NonNegativeFloat, ...] | None = Field(
        None,
        description="weight of each class: `log`, 1 / log(1.1 + share of its pixels in the training labels); "
        "`balanced`, 1 / share, at most 50 times the least; or a list",
    )
    label_smoothing: BelowOne = Field(0.0, description="share of a pixel's truth that is spread over all classes")
    ohem_ratio: float = Field(
        1.0, gt=0, le=1, description="online hard example mining: share of a batch's pixels, the hardest, that count"
    )
    auxiliary_weight: NonNegativeFloat = Field(0.4, description="weight of the auxiliary head's loss")
    center_weight: NonNegativeFloat = Field(200.0, description="weight of the mean squared error of the centers")
    offset_weight: NonNegativeFloat = Field(
        0.01, description="weight of the mean absolute error of the offsets, which are in pixels"
    )
    center_sigma: float = Field(
        8.0, ge=1, le=256, description="standard deviation of the Gaussian around a center, in pixels"
    )
    small_instance_threshold: NonNegativeInt = Field(4096, description="pixels below which an instance is small")
    small_instance_weight: PositiveFloat = Field(1.0, description="weight of a small instance's pixels in its class")

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

    run: str | None = Field(
        None, description="the run of the teacher, which must have the same classes; its `best.keras` is used"
    )
    weight: Fraction = Field(0.5, description="share of the teacher in the loss of the classes")
    temperature: PositiveFloat = Field(2.0, description="softens both distributions: logits are divided by it")


class Optimizer(Section):
    """The optimizer and its learning rate."""

    name: Literal["adam", "muon", "sgd"] = Field(
        "adam",
        description="`muon` orthogonalizes the step of each convolution ([Jordan et al., 2024]"
        "(https://kellerjordan.github.io/posts/muon/)), at Adam's learning rates",
    )
    learning_rate: PositiveFloat = Field(0.001, description="peak learning rate")
    schedule: Literal["cosine", "poly", "constant"] = Field("cosine", description="decay of the learning rate")
    power: NonNegativeFloat = Field(0.9, description="exponent of `poly`")
    warmup_steps: NonNegativeInt = Field(0, description="steps of linear warm-up")
    momentum: BelowOne = Field(0.9, description="momentum of `sgd`")
    weight_decay: NonNegativeFloat = Field(
        0.0,
        description="`sgd`: added to the gradient; `adam` and `muon`: decoupled, as in AdamW. Not on batch "
        "normalization, biases and depthwise kernels",
    )
    backbone_lr_multiplier: NonNegativeFloat = Field(1.0, description="multiplies the backbone's learning rate")
    clip_norm: PositiveFloat | None = Field(None, description="clips the gradient to this global norm")
    ema: BelowOne | None = Field(
        None, description="momentum of an exponential moving average of the weights, which is then scored and saved"
    )


class Training(Section):
    """Steps, precision, seed, and what is written when."""

    steps: PositiveInt = Field(60_000, description="training steps; one step is one batch")
    batch_size: PositiveInt = Field(16, description="images in a batch")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="Keras dtype policy; weights and saved networks are float32 with each"
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="fixes the first weights, the order of the images, and augmentation"
    )
    validate_every: PositiveInt = Field(
        1000, description="steps between scores on the `val` split; the best network so far is `best.keras`"
    )
    validation_images: PositiveInt | None = Field(
        None, description="images of `val`, evenly spread, that are scored; none: all"
    )
    checkpoint_every: PositiveInt = Field(500, description="steps between the states that `--resume` continues from")
    save_steps: tuple[PositiveInt, ...] = Field(
        (), description="steps whose network is kept as `kept/step_*.keras`; `deeplab-tf report` compares them"
    )
    log_every: PositiveInt = Field(20, description="steps between lines in `metrics.jsonl` and points in TensorBoard")
    deterministic: bool = Field(
        True, description="the same weights each time, to the last bit; not every operation can be so on a GPU"
    )


class Quantization(Section):
    """Quantization-aware training (QAT, [Jacob et al., 2018](https://arxiv.org/abs/1712.05877)), for a network that
    loses too much accuracy with `deeplab-tf convert --int8`.

    It continues from the run that `model.weights` names, in float32, at about a tenth of its learning rate; that run
    can be the teacher too (`distillation.run`). Ranges are measured once and kept in the run as `ranges.json`, which
    `convert` uses. Statistics of batch normalization stay as they are. Validation scores the INT8 network.
    """

    aware: bool = Field(False, description="train with INT8 rounding")
    calibration: Literal["min-max", "percentile", "entropy"] | None = Field(
        None, description="calibration method; none: the one that agrees best with the float network"
    )
    calibration_images: PositiveInt = Field(100, description="training images to calibrate on")


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

    def to_yaml(self) -> str:
        """Return the text from which `load` gives an equal Config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def difference(self, other: "Config") -> str | None:
        """Return the first key that changes the weights and differs in another recipe, such as
        `optimizer.learning_rate: 0.1 there, 0.001 here`; None where none does."""
        here, there = self.model_dump(mode="json"), other.model_dump(mode="json")
        for section in here:
            for key in (*here[section], *there[section]):
                ours, theirs = (sections[section].get(key, "not set") for sections in (here, there))
                if ours != theirs and f"{section}.{key}" not in WITHOUT_EFFECT:
                    if isinstance(ours, dict) or isinstance(theirs, dict):
                        return f"{section}.{key} differs"  # a long list
                    return f"{section}.{key}: {show(theirs)} there, {show(ours)} here"
        return None


WITHOUT_EFFECT = ("data.root", "data.manual_dir", "data.records", "training.log_every", "training.checkpoint_every")
"""Keys that do not change the weights: a run may be continued with other values."""
