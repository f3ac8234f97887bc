"""What TF-TRT would take of a network: its engines, and every operation left outside with the reason. Needs no GPU.

    python tools/check/tf_trt_coverage.py BUNDLE             # tf_trt/float in FP32 and FP16, tf_trt/int8 in INT8
    python tools/check/tf_trt_coverage.py SAVED_MODEL [--precision FP16] [--json FILE] [--minimum-segment 3] [-v]

TF-TRT replaces the parts of a graph that TensorRT can compute by TRTEngineOps and leaves the rest to TensorFlow; each
border costs copies and keeps TensorRT from fusing across it. Which parts these are is decided without a GPU; only
TF-TRT's Python side asks for one first. So this lets it believe that there is one, and reads the result and its log. It
runs in an environment of its own, with TensorFlow 2.14 and TensorRT 8.5, made by tools/environments/tf_trt.sh. What
it cannot show: whether an engine can then be built, and how fast it is.

Exit code 0: one engine takes the whole network, and nothing is outside but constants, the ends of the graph, and casts
from and to uint8 there. 3: something else is left outside. 1: it cannot be found out. 2: a wrong call.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENVIRONMENT = os.environ.get("DEEPLAB_TF_TRT_ENVIRONMENT") or os.path.join(ROOT, ".venv-tftrt")
PRECISIONS = ("FP32", "FP16", "INT8")
HARMLESS = ("Placeholder", "Const", "Identity", "NoOp")
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")

# (operation, TF-TRT's reason, what to do instead), the first that fits both expressions counts
ADVICE = (
    (
        "SpaceToBatchND|BatchToSpaceND",
        "",
        "an atrous convolution as Keras writes it: write it as one convolution with dilations",
    ),
    (
        "ResizeBilinear",
        "align_corners",
        "resize with align_corners=True, or by a transposed convolution with a bilinear kernel",
    ),
    ("ArgMax|ArgMin", "int64", "give it output_type=tf.int32"),
    ("FakeQuant.*", "not supported", "taken in INT8 only: for FP32 and FP16 convert the graph without ranges"),
    ("QuantizeAndDequantize.*", "", "write ranges as FakeQuantWithMinMaxVars, narrow_range=True, min = -max"),
    (".*", "EXPLICIT padding", "write Pad before, and padding VALID"),
    ("MirrorPad", "", "pad with zeros, or copy borders by StridedSlice and ConcatV2"),
    ("BiasAdd", "Broadcasting", "a bias has to be a constant: add what is computed by AddV2"),
    (".*", "batch dimension", "leave axis 0 alone: name the other axes, and keep dimensions"),
    (".*", "implicit batch mode", "comparisons and selections need another way: ReLU, maximum, a product with a mask"),
    (".*", "excluded by segmenter|can't be placed", "an end of the graph"),
    (
        ".*",
        "data type u?int(8|64)",
        "compute in float32 or int32 there; at the two ends of the graph it costs next to nothing",
    ),
    ("Cast", "", "only casts between float32 and float16 are taken"),
    (".*", "too small", "it is left alone because its neighbours are: mend those"),
)
NO_REASON = "TF-TRT takes it by itself and says no reason"


class Failure(Exception):
    """What ends the program with one sentence."""


def main(arguments=None):
    """Returns the exit code."""
    options = parse(arguments)
    try:
        results = examine(jobs(options.model, options.precision), options.minimum_segment)
        if options.json:
            write_json(options.json, results)
    except Failure as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    print(report(results, verbose=options.verbose), file=sys.stderr if options.json == "-" else sys.stdout)
    return 0 if all(result["whole"] for result in results["graphs"]) else 3


def parse(arguments):
    first, *rest = __doc__.splitlines()
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=first, epilog="\n".join(rest), formatter_class=raw)
    parser.add_argument(
        "model", metavar="SAVED_MODEL_OR_BUNDLE", help="folder of a SavedModel, or of what deeplab-tf convert wrote"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="default: INT8 for a graph with ranges, else FP16; of a bundle all"
    )
    parser.add_argument(
        "--minimum-segment", type=positive, default=3, metavar="N", help="fewer operations become no engine (default 3)"
    )
    parser.add_argument("--json", metavar="FILE", help="write what was found, node by node; - for standard output")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every operation left outside by its name")
    return parser.parse_args(arguments)


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def jobs(model, precision=None):
    """[(folder of a SavedModel, precision), ...]: what to examine of a SavedModel or a bundle. Raises Failure for
    anything else."""
    if os.path.isfile(os.path.join(model, "saved_model.pb")):
        return [(model, precision or ("INT8" if has_ranges(model) else "FP16"))]
    found = []
    for name, precisions in (("float", ("FP32", "FP16")), ("int8", ("INT8",))):
        folder = os.path.join(model, "tf_trt", name)
        if os.path.isfile(os.path.join(folder, "saved_model.pb")):
            found += [(folder, each) for each in precisions if precision in (None, each)]
    if not found:
        wanted = f"graph for {precision}" if precision else "SavedModel"
        raise Failure(f"{model} is no SavedModel and has no {wanted} under tf_trt; deeplab-tf convert writes both.")
    return found


def has_ranges(folder):
    """Whether a SavedModel has fake-quantize nodes."""
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        return b"FakeQuantWithMinMax" in file.read()


def environment(folder=None):
    """The folder of the environment with TF-TRT. Raises Failure, naming the script that makes it, where there is
    none."""
    folder = folder or ENVIRONMENT
    if not os.path.isfile(os.path.join(folder, "ready")):
        raise Failure(f"there is no environment with TF-TRT at {folder}; sh tools/environments/tf_trt.sh makes it.")
    return folder


def examine(jobs, minimum_segment=3):
    """Runs TF-TRT's graph conversion on each (folder, precision), in its own environment.

    Returns {"tensorflow", "tensorrt", "graphs": [...]} with for each graph `folder`, `precision`, `engines`, `outside`,
    `notes`, `whole`.
    """
    place = environment()
    print(f"Asking TF-TRT in {os.path.relpath(place)} ...", file=sys.stderr)
    worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tf_trt_without_gpu.py")
    command = ["sh", "-c", '. "$0/env.sh" && exec "$0/bin/python" "$@"', os.path.abspath(place), worker]
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TF_"))}
    with tempfile.TemporaryDirectory() as folder:
        log, answer = os.path.join(folder, "log"), os.path.join(folder, "answer.json")
        question = json.dumps({"jobs": jobs, "minimum_segment": minimum_segment})
        with open(log, "wb") as stream:
            code = subprocess.call(command + [question, answer], env=variables, stdout=stream, stderr=stream)
        with open(log, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if code != 0:
            raise Failure("TF-TRT's graph conversion failed: {}".format(last_words(text) or f"exit code {code}"))
        with open(answer, encoding="utf-8") as stream:
            results = json.load(stream)
    for graph in results["graphs"]:
        explain(graph, graph.pop("log"))
    return results


def last_words(log):
    """The last line of a log that is a program's and not TensorFlow's, whose lines begin with the date."""
    return next((line for line in reversed(log.strip().splitlines()) if not re.match(r"\d{4}-", line)), "")


REFUSED = re.compile(
    r"Not a TF-TRT candidate, \(Op type: ([^)]*)\), \(Op name: ([^)]*)\), \(Reason: (.*)\)$", re.MULTILINE
)
SEGMENT = re.compile(
    r"Nodes in segment .*\n((?:\[Op type: \w+\] .*\n)+)(?:.* has only (\d+) effective nodes, dropping)?"
)
FAILED = re.compile(r"(?:Cannot replace|Failed to convert|TF-TRT Warning:).*segment.*", re.IGNORECASE)


def explain(graph, log):
    """Adds to each operation outside why, and what to do, from TF-TRT's log; and whether one engine takes
    everything."""
    reasons = {name: reason for _, name, reason in REFUSED.findall(log)}
    for nodes, count in SEGMENT.findall(log):
        for name in re.findall(r"\] (.*)", nodes) if count else ():
            reasons.setdefault(
                name, "its segment is too small: {} operation{}".format(count, "" if count == "1" else "s")
            )
    for node in graph["outside"]:
        node["reason"] = reasons.get(node["name"], NO_REASON)
        node["harmless"] = node["op"] in HARMLESS or node["op"] == "Cast" and "uint8" in node["types"]
        node["advice"] = "" if node["harmless"] else advice(node["op"], node["reason"])
    graph["notes"] = sorted(set(FAILED.findall(log)))
    graph["whole"] = len(graph["engines"]) == 1 and all(node["harmless"] for node in graph["outside"])


def advice(op, reason):
    """What to write instead of an operation that TF-TRT refused; "" where we do not know."""
    return next((text for name, why, text in ADVICE if re.fullmatch(name, op) and re.search(why, reason)), "")


def report(results, *, verbose=False):
    """The findings as text."""
    lines = [
        f"TF-TRT of TensorFlow {results['tensorflow']} with TensorRT {results['tensorrt']}, "
        "graph conversion without a GPU, nothing built"
    ]
    for graph in results["graphs"]:
        lines += [""] + graph_lines(graph, verbose)
    return "\n".join(lines)


def graph_lines(graph, verbose):
    engines, left = graph["engines"], [node for node in graph["outside"] if not node["harmless"]]
    verdict = (
        "one engine takes the whole network"
        if graph["whole"]
        else "{} engine{}, {} operation{} outside".format(
            len(engines), "" if len(engines) == 1 else "s", len(left), "" if len(left) == 1 else "s"
        )
    )
    lines = ["{} in {}: {}".format(graph["folder"], graph["precision"], verdict), ""]
    rows = [("engine", "operations", "multiply-adds", "first", "last")]
    for engine in engines:
        rows.append(
            (engine["name"], engine["nodes"], share(engine["macs"], graph["macs"]), engine["first"], engine["last"])
        )
    outside = sum(node["macs"] for node in graph["outside"])
    rows.append(("(TensorFlow)", len(graph["outside"]), share(outside, graph["macs"]), "", ""))
    lines += table(rows)
    lines += [""] if engines else []
    for engine in engines:
        lines += ["  {}: {}".format(engine["name"], counted(engine["ops"]))]
    ends = collections.Counter(label(node) for node in graph["outside"] if node["harmless"])
    lines += ["", "  outside at no cost: {}".format(counted(ends) or "nothing")]
    lines += left_lines(left, verbose)
    if graph["precision"] == "INT8":
        missing = graph["without_range"]
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        lines.append(
            "  tensors in engines without a range of their own: {}{}".format(
                len(missing), f" ({names})" if names else ""
            )
        )
    return lines + [f"  TF-TRT notes: {note}" for note in graph["notes"]]


def left_lines(left, verbose):
    """Operations left outside, those of one kind and reason together."""
    groups = collections.OrderedDict()
    for node in left:
        groups.setdefault((node["op"], node["reason"], node["advice"]), []).append(node["name"])
    lines = []
    for (op, reason, text), names in groups.items():
        shown = names if verbose else names[:3]
        lines += ["", f"  outside: {len(names)} {op}", f"    why: {reason}"]
        lines += [f"    instead: {text}"] if text else []
        lines += [f"    {name}" for name in shown]
        lines += [f"    ... and {len(names) - len(shown)} more (-v lists them)"] if len(names) > len(shown) else []
    return lines + [""] if lines else []


def label(node):
    return "Cast {} to {}".format(*node["types"]) if node["op"] == "Cast" else node["op"]


def counted(ops):
    return ", ".join(f"{count} {op}" for op, count in sorted(ops.items(), key=lambda item: (-item[1], item[0])))


def share(part, whole):
    return f"{part / whole:.1%}" if whole else "-"


def table(rows):
    """Lines of a table with two blanks between columns; numbers to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    right = [isinstance(value, int) or "%" in str(value) or value == "-" for value in rows[-1]]
    cells = [[str(v).rjust(w) if r else str(v).ljust(w) for v, w, r in zip(row, widths, right)] for row in rows]
    return ["  " + "  ".join(row).rstrip() for row in cells]


def write_json(target, results):
    text = json.dumps(results, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    part = target + ".part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, target)
    except OSError as error:
        raise Failure(f"cannot write {target}: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
