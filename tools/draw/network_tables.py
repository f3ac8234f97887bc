"""Write the tables of docs/networks.md: python tools/draw/network_tables.py docs/networks.md

Multiply-adds of every backbone with every head, and the frame rates that each Jetson is estimated to reach with
DeepLabV3+ on it, at 512x1024 with 19 classes. It builds each network: many minutes.
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
RATES = """Parameters of DeepLabV3+ on each backbone, and the frames per second that a device is estimated to reach
in its fastest precision (see [Budget](budget.md); not measured):"""
BEGIN, END = "<!-- written by tools/draw/network_tables.py -->\n", "<!-- end -->\n"


def layers_of(head: str, backbone: str) -> list:
    """Return the layers of a head on a backbone."""
    from deeplab_tf.lab.export.layer_costs import recipe_layers

    stride = STRIDES.get(backbone.split("_")[0], 16)
    section = {"name": head, "backbone": backbone, "output_stride": stride}
    if head == "unet":
        section["decoder_channels"] = (128, 64, 32)
    return recipe_layers(section, SIZE, CLASSES)


def tables() -> str:
    """Return the tables: a row a backbone."""
    from deeplab_tf.deploy.budget.devices import DEVICES, best_precision
    from deeplab_tf.deploy.budget.summary import on_device
    from deeplab_tf.deploy.budget.workload import macs, parameters
    from deeplab_tf.lab.models.registry import backbones

    titles = [
        f"{device.title.replace('Jetson ', '')}, {'INT8' if best_precision(device) == 'int8' else 'FP16'}"
        for device in DEVICES.values()
    ]
    costs, rates = [heading(HEADS.values())], [heading(["parameters", *titles])]
    for backbone in backbones():
        layers = {head: layers_of(head, backbone) for head in HEADS}
        costs.append(row(backbone, [f"{macs(each) / 1e9:.1f}" for each in layers.values()]))
        network = layers["deeplab_v3_plus"]
        found = [on_device(network, name, 25.0)["estimated_fps"] for name in DEVICES]
        rates.append(row(backbone, [f"{parameters(network) / 1e6:.1f} M", *(f"{each:.0f}" for each in found)]))
        print(costs[-1], rates[-1], file=sys.stderr, flush=True)
    return "\n".join([*costs, "", RATES, "", *rates, ""])


def heading(titles) -> str:
    """Return the first two lines of a table."""
    titles = ["`model.backbone`", *titles]
    return f"| {' | '.join(titles)} |\n{'| --- ' * len(titles)}|"


def row(backbone: str, cells: list[str]) -> str:
    """Return the line of a backbone."""
    return f"| `{backbone}` | {' | '.join(cells)} |"


def main() -> None:
    """Replace what stands between the two marks of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="docs/networks.md")
    page = parser.parse_args().page
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
