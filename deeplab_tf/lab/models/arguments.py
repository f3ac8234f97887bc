"""Arguments that networks share, with the range and the meaning of each, for recipes."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from deeplab_tf.lab.schema import BelowOne, Channels

Backbone = Annotated[str, "the backbone"]
Width = Annotated[float, Gt(0), Le(4), "multiplies the backbone's channels"]
OutputStride = Annotated[Literal[8, 16, 32], "stride of `res5`, in input pixels; less is finer and slower"]
Dilation = Annotated[int, Ge(1), Le(64)]
MultiGrid = Annotated[
    tuple[Dilation, Dilation, Dilation],
    "multiplies the dilations of the three blocks of `res5`; of a ResNet with three there",
]
Separable = Annotated[bool, "depthwise separable convolutions in pyramid and decoder: about half the operations"]
AsppChannels = Annotated[Channels, "channels of each branch of the atrous pyramid"]
DecoderChannels = Annotated[Channels, "channels of the decoder's convolutions"]
Dropout = Annotated[BelowOne, "share of pyramid features dropped in training"]
BatchNormMomentum = Annotated[BelowOne, "momentum of the running statistics; lower for short trainings"]
