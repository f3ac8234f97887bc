"""The report of `check`, as JSON."""

from collections.abc import Mapping, Sequence

from deeplab_tf.lab.checks.faults import Alike, Fault
from deeplab_tf.lab.checks.scan import Scan
from deeplab_tf.lab.data.check import LabelCounts


def summary(scans: Mapping[str, Scan], faults: Sequence[Fault], groups: Sequence[Alike]) -> dict:
    """Return what was found: `splits` by name, the names of the `classes`, the `faults`, the worst first, and the
    groups of `duplicates`."""
    tables = [scan.split.table for scan in scans.values() if scan.split is not None]
    return {
        "splits": {name: _of_split(scan) for name, scan in scans.items()},
        "classes": tables[0].names if tables else [],
        "faults": [fault._asdict() for fault in faults],
        "duplicates": [group._asdict() for group in groups],
    }


def _of_split(scan: Scan) -> dict:
    counts = scan.counts() or LabelCounts(0, {}, {}, {}, [])
    pixels = counts.pixels
    labeled, ignored = sum(pixels.values()), sum(counts.ignored.values())
    classes = {
        name: {"pixels": count, "share": count / max(1, labeled), "images": counts.images_with[name]}
        for name, count in pixels.items()
    }
    return {
        "images": len(scan.good()),
        "unreadable": len(scan.errors),
        "sizes": scan.sizes(),
        "labeled": labeled / max(1, labeled + ignored),
        "ignored": counts.ignored,
        "classes": classes,
    }
