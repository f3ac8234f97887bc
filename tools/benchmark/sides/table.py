"""Arithmetic and table of the comparison."""

import statistics


def ratio(turns):
    """Return the speed ratio: the median over turns of their least seconds divided by our least seconds.

    A turn is ours and, right after it, the peer, so that drift of the machine's speed affects both.

    Args:
        turns: pairs of lists of seconds, ours first.
    """
    return statistics.median(min(theirs) / min(ours) for ours, theirs in turns)


def seconds(turns, side):
    """Return the median over turns of the least seconds of one side, 0 or 1."""
    return statistics.median(min(turn[side]) for turn in turns)


def repetitions(one, turn, least=2, most=500):
    """Return how many repetitions of `one` seconds fit into a turn of `turn` seconds."""
    return max(least, min(most, round(turn / max(one, 1e-9))))


def share(gmac, frame_seconds, peak):
    """Return the share of the peak that a frame reaches: two operations per multiply-add."""
    return 2e9 * gmac / frame_seconds / peak


def limits(gmac, ours, theirs, peak):
    """Compare the full ResNet-50 in INT8 with its two limits, the peak and OpenVINO.

    Args:
        gmac: billions of multiply-adds per frame.
        ours, theirs: seconds per frame; OpenVINO's may be None.
        peak: INT8 operations per second.

    Returns:
        `operations` per second, `of_peak`, `of_openvino` (our speed as a share of OpenVINO's, or None) and `lower`: the
        name of the lower share.
    """
    of_peak = share(gmac, ours, peak)
    of_openvino = theirs / ours if theirs else None
    lower = "of_openvino" if of_openvino is not None and of_openvino < of_peak else "of_peak"
    return {"operations": 2e9 * gmac / ours, "of_peak": of_peak, "of_openvino": of_openvino, "lower": lower}


def cells(found):
    """Return the cells of the table, with a reason for each row that was not measured."""
    made = [["row", "ours", "", "peer", "", "times as fast", "what"]]
    for row in found:
        reason = row.get("missing") or row.get("failed")
        if reason:
            made.append([row["name"], "", "", row["peer"], "", "-", "not measured: " + reason])
            continue
        made.append(
            [row["name"], row["ours"], duration(row["ours_seconds"]), row["peer"], duration(row["peer_seconds"]),
             "{:.2f}".format(row["ratio"]), "{}, {}".format(row["what"], row["unit"]) + reason_below(row)]
        )  # fmt: skip
    return made


def reason_below(row):
    """Return why the peer is faster, if it is."""
    return ". Below 1: " + (row.get("why") or "not known why") if round(row["ratio"], 2) < 1 else ""


def duration(found):
    """Return seconds with three digits, in ms below a second."""
    return f"{found:.3g} s" if found >= 1 else f"{1e3 * found:.3g} ms"


def peak_lines(peaks):
    """Return the lines of the machine's measured peaks."""
    names = {"float32": "float32 matrix product", "bfloat16": "bfloat16 matrix product", "int8": "INT8 matrix product"}
    lines = [f"{text:28} {peaks[key] / 1e9:8.1f} billion operations/s" for key, text in names.items() if peaks.get(key)]
    return [*lines, "{:28} {:8.1f} GB/s, read and written".format("copying memory", peaks["memory"] / 1e9)]


def limit_lines(found):
    """Return the lines of `limits`."""
    lines = ["ResNet-50, dense, INT8: {:.0f} billion operations/s, {:.2f} of the peak".format(
        found["operations"] / 1e9, found["of_peak"])]  # fmt: skip
    if found["of_openvino"] is not None:
        lines[0] += " and {:.2f} of OpenVINO's speed".format(found["of_openvino"])
    lower = {"of_peak": "its share of the peak", "of_openvino": "its share of OpenVINO's speed"}[found["lower"]]
    return [*lines, "The lower of both is " + lower + "."] if found["of_openvino"] is not None else lines
