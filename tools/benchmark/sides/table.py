"""The arithmetic of the comparison, and its table."""

import statistics


def ratio(turns):
    """How many times as fast as the peer ours is: the median over turns of their least seconds by our least seconds.

    A turn is ours and, right after it, the peer: what the machine's speed does over minutes touches both alike.

    Args:
        turns: pairs of lists of seconds, ours first.
    """
    return statistics.median(min(theirs) / min(ours) for ours, theirs in turns)


def seconds(turns, side):
    """Of one side, 0 or 1: the median over turns of the least."""
    return statistics.median(min(turn[side]) for turn in turns)


def repetitions(one, turn, least=2, most=500):
    """How many fit into a turn of so many seconds where one takes `one`."""
    return max(least, min(most, round(turn / max(one, 1e-9))))


def share(gmac, frame_seconds, peak):
    """Of the peak that a frame reaches: two operations a multiply-add."""
    return 2e9 * gmac / frame_seconds / peak


def limits(gmac, ours, theirs, peak):
    """Full ResNet-50 in integers against its two limits.

    Args:
        gmac: multiply-adds of a frame, in billions.
        ours, theirs: seconds a frame; OpenVINO's may be None.
        peak: operations a second of 8-bit integers.

    Returns:
        `operations` a second, `of_peak`, `of_openvino` (how fast ours is as a share of OpenVINO, or None) and `lower`:
        which of both shares is the lower one.
    """
    of_peak = share(gmac, ours, peak)
    of_openvino = theirs / ours if theirs else None
    lower = "of_openvino" if of_openvino is not None and of_openvino < of_peak else "of_peak"
    return {"operations": 2e9 * gmac / ours, "of_peak": of_peak, "of_openvino": of_openvino, "lower": lower}


def cells(found):
    """Of the table: a line for each row that was measured or why not."""
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
    """Why the peer is faster, where it is."""
    return ". Below 1: " + (row.get("why") or "not known why") if round(row["ratio"], 2) < 1 else ""


def duration(found):
    """Seconds with three digits, in ms below a second."""
    return f"{found:.3g} s" if found >= 1 else f"{1e3 * found:.3g} ms"


def peak_lines(peaks):
    """The machine's limits in words."""
    names = {
        "float32": "float32 matrix product",
        "bfloat16": "bfloat16 matrix product",
        "int8": "8-bit integer product",
    }
    lines = [f"{text:28} {peaks[key] / 1e9:8.1f} billion operations/s" for key, text in names.items() if peaks.get(key)]
    return [*lines, "{:28} {:8.1f} GB/s, read and written".format("copying memory", peaks["memory"] / 1e9)]


def limit_lines(found):
    """What `limits` found, in words."""
    lines = ["ResNet-50, dense, in integers: {:.0f} billion operations/s, {:.2f} of the peak".format(
        found["operations"] / 1e9, found["of_peak"])]  # fmt: skip
    if found["of_openvino"] is not None:
        lines[0] += " and {:.2f} of OpenVINO's speed".format(found["of_openvino"])
    lower = {"of_peak": "its share of the peak", "of_openvino": "its share of OpenVINO's speed"}[found["lower"]]
    return [*lines, "The lower of both is " + lower + "."] if found["of_openvino"] is not None else lines
