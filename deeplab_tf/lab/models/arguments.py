"""Arguments that networks share, with the range and the meaning of each, for recipes."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from deeplab_tf.lab.schema import BelowOne

Backbone = Annotated[str, Field(description="the backbone")]
Width = Annotated[PositiveFloat, Field(description="multiplies the backbone's channels")]
OutputStride = Annotated[
    Literal[8, 16, 32],
    Field(description="input pixels a side for one position of the deepest features; less is finer and slower"),
]
MultiGrid = Annotated[
    tuple[PositiveInt, PositiveInt, PositiveInt],
    Field(description="multiplies the dilations of the three blocks of `res5`; `resnet50` only"),
]
Separable = Annotated[
    bool, Field(description="depthwise separable convolutions in pyramid and decoder: about half the operations")
]
AsppChannels = Annotated[PositiveInt, Field(description="channels of each branch of the atrous pyramid")]
DecoderChannels = Annotated[PositiveInt, Field(description="channels of the decoder's convolutions")]
Dropout = Annotated[BelowOne, Field(description="share of pyramid features dropped in training")]
BatchNormMomentum = Annotated[
    BelowOne, Field(description="momentum of the running statistics; lower for short trainings")
]
