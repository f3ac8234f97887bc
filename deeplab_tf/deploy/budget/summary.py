"""The report of `budget`: as JSON and as tables."""

from typing import Dict, Sequence

from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy.budget import roofline
from deeplab_tf.deploy.budget.devices import best_precision, find
from deeplab_tf.deploy.budget.workload import BYTES, KINDS, Layer, macs, parameters, traffic

RELATIVE_ERROR = 0.3
"""Half the width of an estimate's range."""


def report(layers: Sequence[Layer], devices: Sequence[str], target: float) -> dict:
    """Return what a network costs and what devices can do with it.

    Args:
        devices: names.
        target: frames/s.

    Returns:
        gmac, parameters, bytes_per_frame (by precision), layers, gmac_by_kind, target_fps, and devices: `on_device` by
        name.
    """
    kinds = {kind: macs([layer for layer in layers if layer.kind == kind]) / 1e9 for kind in KINDS}
    return {
        "gmac": macs(layers) / 1e9,
        "parameters": parameters(layers),
        "bytes_per_frame": {precision: traffic(layers, precision) for precision in BYTES},
        "layers": len(layers),
        "gmac_by_kind": kinds,
        "target_fps": target,
        "devices": {name: on_device(layers, name, target) for name in devices},
    }


def on_device(layers: Sequence[Layer], name: str, target: float) -> dict:
    """Return what a device can do with a network, in its fastest precision.

    Returns:
        title, precision, upper_bound_fps, estimated_fps, estimated_range, meets_target (whether the estimate does),
        needed: the operations/s for the target, divided by the device's peak; gmac_to_spend: GMAC per frame that the
        target allows at the estimated rate.
    """
    device = find(name)
    precision = best_precision(device)
    estimate = roofline.fps(roofline.estimate(layers, device, precision))
    return {
        "title": device.title,
        "precision": precision,
        "upper_bound_fps": roofline.fps(roofline.upper_bound(layers, device, precision)),
        "estimated_fps": estimate,
        "estimated_range": [estimate * (1 - RELATIVE_ERROR), estimate * (1 + RELATIVE_ERROR)],
        "meets_target": estimate >= target,
        "needed": 2 * macs(layers) * target / device.peak[precision],
        "gmac_to_spend": macs(layers) / 1e9 * estimate / target,
        "note": device.note,
    }


def suggestion(changes: Dict[str, object], layers: Sequence[Layer], device: str, target: float) -> dict:
    """Return the row of a smaller network: its changes, cost and estimate."""
    found = on_device(layers, device, target)
    row = {"changes": changes, "gmac": macs(layers) / 1e9, "parameters": parameters(layers)}
    return dict(row, estimated_fps=found["estimated_fps"], meets_target=found["meets_target"])


def text(found: dict) -> str:
    """Return the tables of a report with `network` (a title) and `size`."""
    height, width = found["size"]
    moved = ", ".join(f"{count / 1e6:.0f} MB in {precision}" for precision, count in found["bytes_per_frame"].items())
    kinds = [f"{count:.1f} in {KINDS[kind]}" for kind, count in found["gmac_by_kind"].items() if count >= 0.05]
    lines = [
        f"{found['network']} at {height}x{width} (height x width)",
        f"per frame: {found['gmac']:.1f} GMAC ({2 * found['gmac']:.0f} GFLOP), "
        f"{found['parameters'] / 1e6:.1f} million parameters, {moved}",
        "GMAC by layer: " + ", ".join(kinds),
        "",
        text_table(_device_cells(found)),
    ]
    if len(found["devices"]) == 1:
        (row,) = found["devices"].values()
        lines += ["", _needed(found, row)]
    if "suggestions" in found:
        lines += ["", "Smaller networks of this kind, by estimate:", text_table(_suggestion_cells(found))]
    return "\n".join(lines)


def _needed(found, row):
    target = found["target_fps"]
    tera = 2 * found["gmac"] * target / 1e3
    return (
        f"{target:g} frames/s need {tera:.2f} TFLOPS, {row['needed']:.1f} times the peak of a {row['title']} in "
        f"{row['precision']}. At the estimated rate they allow {row['gmac_to_spend']:.1f} GMAC per frame."
    )


def _device_cells(found):
    meets = f"meets {found['target_fps']:g}"
    cells = [["device", "precision", "upper bound frames/s", "estimate", "range", meets, ""]]
    for name, row in found["devices"].items():
        low, high = row["estimated_range"]
        rates = [f"{row['upper_bound_fps']:.1f}", f"{row['estimated_fps']:.1f}", f"{low:.1f} to {high:.1f}"]
        cells.append([name, row["precision"], *rates, _yes(row["meets_target"]), row["note"]])
    return cells


def _suggestion_cells(found):
    cells = [["change", "GMAC", "million parameters", "frames/s", "meets target"]]
    for row in sorted(found["suggestions"], key=lambda row: row["estimated_fps"]):
        changes = " ".join(
            f"model.{key}={str(value).lower().replace(' ', '')}" for key, value in row["changes"].items()
        )
        figures = [f"{row['gmac']:.1f}", f"{row['parameters'] / 1e6:.1f}", f"{row['estimated_fps']:.1f}"]
        cells.append([changes, *figures, _yes(row["meets_target"])])
    return cells


def _yes(value):
    return "yes" if value else "no"
