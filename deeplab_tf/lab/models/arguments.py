"""Arguments that networks share, with the range and the meaning of each, for recipes."""

from typing import Annotated, Literal

from pydantic import PositiveFloat, PositiveInt

from deeplab_tf.lab.schema import BelowOne

Backbone = Annotated[str, "the backbone"]
Width = Annotated[PositiveFloat, "multiplies the backbone's channels"]
OutputStride = Annotated[Literal[8, 16, 32], "stride of `res5`, in input pixels; less is finer and slower"]
MultiGrid = Annotated[
    tuple[PositiveInt, PositiveInt, PositiveInt],
    "multiplies the dilations of the three blocks of `res5`; `resnet50` only",
]
Separable = Annotated[bool, "depthwise separable convolutions in pyramid and decoder: about half the operations"]
AsppChannels = Annotated[PositiveInt, "channels of each branch of the atrous pyramid"]
DecoderChannels = Annotated[PositiveInt, "channels of the decoder's convolutions"]
Dropout = Annotated[BelowOne, "share of pyramid features dropped in training"]
BatchNormMomentum = Annotated[BelowOne, "momentum of the running statistics; lower for short trainings"]
