"""Write the table of docs/networks.md: python tools/draw/network_tables.py docs/networks.md

Multiply-adds of every backbone with every head, at 512x1024 with 19 classes. It builds each network: many minutes.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE, CLASSES = (512, 1024), 19
HEADS = {
    "deeplab_v3_plus": "DeepLabV3+",
    "lr_aspp": "LR-ASPP",
    "unet": "U-Net",
    "fcn": "FCN-8s",
    "panoptic_deeplab": "Panoptic-DeepLab",
}
STRIDES = {"swin": 32}
"""Output strides other than 16, by family."""
BEGIN, END = "<!-- written by tools/draw/network_tables.py -->\n", "<!-- end -->\n"


def layers_of(head: str, backbone: str) -> list:
    """Return the layers of a head on a backbone."""
    from deeplab_tf.lab.export.layer_costs import recipe_layers

    stride = STRIDES.get(backbone.split("_")[0], 16)
    section = {"name": head, "backbone": backbone, "output_stride": stride}
    if head == "unet":
        section["decoder_channels"] = (128, 64, 32)
    return recipe_layers(section, SIZE, CLASSES)


def table() -> str:
    """Return the table: a row a backbone."""
    from deeplab_tf.deploy.budget.workload import macs
    from deeplab_tf.lab.models.registry import backbones

    rows = [f"| `model.backbone` | {' | '.join(HEADS.values())} |", "| --- " * (len(HEADS) + 1) + "|"]
    for backbone in backbones():
        cells = []
        for head in HEADS:
            cells.append(f"{macs(layers_of(head, backbone)) / 1e9:.1f}")
            print(backbone, head, cells[-1], file=sys.stderr, flush=True)
        rows.append(f"| `{backbone}` | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def main() -> None:
    """Replace what stands between the two marks of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="docs/networks.md")
    page = parser.parse_args().page
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
