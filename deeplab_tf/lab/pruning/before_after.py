"""Compare a network before and after pruning."""

from collections.abc import Sequence

import keras

from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy.budget.devices import DEVICES
from deeplab_tf.deploy.budget.summary import on_device
from deeplab_tf.deploy.budget.workload import Layer, macs, parameters
from deeplab_tf.lab.pruning.channel_graph import DENSE
from deeplab_tf.lab.pruning.target import CostTarget, SpeedTarget

SCORES = {"miou": "mIoU", "pq": "PQ"}


def output_channels(model: keras.Model) -> dict[str, int]:
    """Return the output channels of each convolution that has a number of its own."""
    return {layer.name: layer.output.shape[-1] for layer in model.layers if isinstance(layer, DENSE)}


def compare_networks(
    before: keras.Model, after: keras.Model, layers: Sequence[Sequence[Layer]], target: CostTarget, scores: Sequence
) -> dict:
    """Return what `prune` reports, for JSON.

    Args:
        before, after: the networks.
        layers, scores: of both; scores as in an evaluation's report.
        target: the highest cost.
    """
    counts = output_channels(before), output_channels(after)
    devices = [target.device] if isinstance(target, SpeedTarget) else sorted(DEVICES)
    rates = {name: [on_device(one, name, 1.0) for one in layers] for name in devices}
    return {
        "size": list(target.size),
        "target": {key: value for key, value in target._asdict().items() if key != "size"},
        "gmac": [macs(one) / 1e9 for one in layers],
        "parameters": [parameters(one) for one in layers],
        "stages": _stages(counts, layers),
        "channels": {name: [counts[0][name], counts[1][name]] for name in counts[0]},
        "images": scores[0]["images"],
        "estimated_fps": {name: [row["estimated_fps"] for row in rows] for name, rows in rates.items()},
        "precision": {name: rows[0]["precision"] for name, rows in rates.items()},
        **{key: [one[key] for one in scores] for key in SCORES if scores[0].get(key) is not None},
    }


def _stages(counts, layers):
    """Return a row for each first word of the layers' names, in their order."""
    rows: dict[str, dict] = {}
    for which, (channels, costs) in enumerate(zip(counts, layers)):
        for name, count in channels.items():
            row = rows.setdefault(name.split("_")[0], {"channels": [0, 0], "gmac": [0.0, 0.0]})
            row["channels"][which] += count
        for layer in costs:
            if layer.macs:
                rows[layer.name.split("_")[0]]["gmac"][which] += layer.macs / 1e9
    return [{"stage": stage, **row} for stage, row in rows.items()]


def comparison_tables(report: dict) -> str:
    """Return the report as tables for a terminal."""
    stages = [["stage", "channels of all layers", "after", "GMAC", "after", ""]]
    for row in report["stages"]:
        stages.append([row["stage"], *map(str, row["channels"]), *(f"{gmac:.2f}" for gmac in row["gmac"]), ""])
    height, width = report["size"]
    total = [["", "before", "after", ""]]
    total.append([f"GMAC at {height}x{width}", *(f"{gmac:.2f}" for gmac in report["gmac"]), ""])
    total.append(["million parameters", *(f"{count / 1e6:.2f}" for count in report["parameters"]), ""])
    for name, rates in report["estimated_fps"].items():
        title = f"estimated frames/s, {name} {report['precision'][name]}"
        total.append([title, *(f"{rate:.1f}" for rate in rates), ""])
    for key, title in SCORES.items():
        if key in report:
            total.append([f"{title} on {report['images']} images of val", *(f"{x:.4f}" for x in report[key]), ""])
    return f"{text_table(stages)}\n\n{text_table(total)}"
