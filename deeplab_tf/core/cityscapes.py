"""How Cityscapes (Cordts et al., CVPR 2016) names its files: CITY_SEQUENCE_FRAME and one of these suffixes."""

import os
import re
from typing import Optional

IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_SUFFIX = "_gtFine_labelIds.png"
INSTANCE_SUFFIX = "_gtFine_instanceIds.png"
PREDICTION_SUFFIX = "_pred_labelIds.png"

_FRAME = re.compile(r"([^_/]+_\d{6}_\d{6})_")


def frame_of(path) -> Optional[str]:
    """Return the frame that a file belongs to, such as "aachen_000000_000019"; None for another kind of name."""
    found = _FRAME.match(os.path.basename(os.fspath(path)))
    return found.group(1) if found else None
