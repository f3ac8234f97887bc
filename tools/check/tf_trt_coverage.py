"""Show which operations of a network TF-TRT puts into engines, and why it leaves others out. Needs no GPU.

    python tools/check/tf_trt_coverage.py BUNDLE             # tf_trt/float in FP32 and FP16, tf_trt/int8 in INT8
    python tools/check/tf_trt_coverage.py SAVED_MODEL [--precision FP16] [--json FILE] [--minimum-segment 3] [-v]

TF-TRT replaces the parts of a graph that TensorRT can compute by TRTEngineOps and leaves the rest to TensorFlow; each
border costs copies and prevents fusion. This segmentation needs no GPU; only TF-TRT's Python side asks for one first,
so the tool pretends that there is one and reads the result and the log. It runs in an environment of its own, with
TensorFlow 2.14 and TensorRT 8.5, made by tools/environments/tf_trt.sh. It does not show whether an engine can then be
built, nor its speed.

Exit code 0: one engine contains the network, except for constants, inputs, outputs, and casts from and to uint8 there.
3: something else is left out. 1: an error. 2: a wrong call.
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
sys.path.insert(0, ROOT)

from deeplab_tf.core.files import write_json  # noqa: E402
from deeplab_tf.core.tables import text_table  # noqa: E402

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
    ("FakeQuant.*", "not supported", "supported in INT8 only: for FP32 and FP16 convert the graph without ranges"),
    ("QuantizeAndDequantize.*", "", "write ranges as FakeQuantWithMinMaxVars, narrow_range=True, min = -max"),
    (".*", "EXPLICIT padding", "write Pad before, and padding VALID"),
    ("MirrorPad", "", "pad with zeros, or copy borders by StridedSlice and ConcatV2"),
    ("BiasAdd", "Broadcasting", "a bias has to be a constant: add what is computed by AddV2"),
    (".*", "batch dimension", "leave axis 0 alone: name the other axes, and keep dimensions"),
    (".*", "implicit batch mode", "comparisons and selections need another way: ReLU, maximum, a product with a mask"),
    (".*", "excluded by segmenter|can't be placed", "an input or output of the graph"),
    (
        ".*",
        "data type u?int(8|64)",
        "compute in float32 or int32 there; at inputs and outputs it costs next to nothing",
    ),
    ("Cast", "", "only casts between float32 and float16 are supported"),
    (".*", "too small", "its neighbors are left out: fix those"),
)
NO_REASON = "TF-TRT supports it and logs no reason"


class Failure(Exception):
    """An error that ends the program with one sentence."""


def main(arguments=None):
    """Return the exit code."""
    options = parse(arguments)
    try:
        results = examine(jobs(options.model, options.precision), options.minimum_segment)
        if options.json:
            write_results(options.json, results)
    except Failure as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    print(report(results, verbose=options.verbose), file=sys.stderr if options.json == "-" else sys.stdout)
    return 0 if all(result["single_engine"] for result in results["graphs"]) else 3


def parse(arguments):
    first, *rest = __doc__.splitlines()
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=first, epilog="\n".join(rest), formatter_class=raw)
    parser.add_argument("model", metavar="SAVED_MODEL_OR_BUNDLE", help="folder of a SavedModel or of a bundle")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="default: INT8 for a graph with ranges, else FP16; all for a bundle"
    )
    parser.add_argument(
        "--minimum-segment", type=positive, default=3, metavar="N", help="least operations of an engine (default 3)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result, node by node; - for standard output")
    parser.add_argument("-v", "--verbose", action="store_true", help="list every operation left out by its name")
    return parser.parse_args(arguments)


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def jobs(model, precision=None):
    """Return [(folder of a SavedModel, precision), ...] of a SavedModel or a bundle. Raises Failure for anything
    else."""
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
    """Return whether a SavedModel has fake-quantize nodes."""
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        return b"FakeQuantWithMinMax" in file.read()


def environment(folder=None):
    """Return the folder of the environment with TF-TRT. Raises Failure, naming the script that makes it, if it is
    missing."""
    folder = folder or ENVIRONMENT
    if not os.path.isfile(os.path.join(folder, "ready")):
        raise Failure(f"there is no environment with TF-TRT at {folder}; sh tools/environments/tf_trt.sh makes it.")
    return folder


def examine(jobs, minimum_segment=3):
    """Run TF-TRT's graph conversion on each (folder, precision), in its own environment.

    Returns {"tensorflow", "tensorrt", "graphs": [...]}; each graph has `folder`, `precision`, `engines`, `outside`,
    `notes` and `single_engine`.
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
            raise Failure(f"TF-TRT's graph conversion failed: {last_words(text) or f'exit code {code}'}")
        with open(answer, encoding="utf-8") as stream:
            results = json.load(stream)
    for graph in results["graphs"]:
        explain(graph, graph.pop("log"))
    return results


def last_words(log):
    """Return the last line of a log that is not TensorFlow's, whose lines begin with the date."""
    return next((line for line in reversed(log.strip().splitlines()) if not re.match(r"\d{4}-", line)), "")


REFUSED = re.compile(
    r"Not a TF-TRT candidate, \(Op type: ([^)]*)\), \(Op name: ([^)]*)\), \(Reason: (.*)\)$", re.MULTILINE
)
SEGMENT = re.compile(
    r"Nodes in segment .*\n((?:\[Op type: \w+\] .*\n)+)(?:.* has only (\d+) effective nodes, dropping)?"
)
FAILED = re.compile(r"(?:Cannot replace|Failed to convert|TF-TRT Warning:).*segment.*", re.IGNORECASE)


def explain(graph, log):
    """Add reason and advice to each operation left out, from TF-TRT's log, and whether one engine contains the rest."""
    reasons = {name: reason for _, name, reason in REFUSED.findall(log)}
    for nodes, count in SEGMENT.findall(log):
        for name in re.findall(r"\] (.*)", nodes) if count else ():
            reasons.setdefault(name, f"its segment is too small: {numbered(int(count), 'operation')}")
    for node in graph["outside"]:
        node["reason"] = reasons.get(node["name"], NO_REASON)
        node["harmless"] = node["op"] in HARMLESS or node["op"] == "Cast" and "uint8" in node["types"]
        node["advice"] = "" if node["harmless"] else advice(node["op"], node["reason"])
    graph["notes"] = sorted(set(FAILED.findall(log)))
    graph["single_engine"] = len(graph["engines"]) == 1 and all(node["harmless"] for node in graph["outside"])


def advice(op, reason):
    """Return what to write instead of an operation that TF-TRT refused; "" where that is not known."""
    return next((text for name, why, text in ADVICE if re.fullmatch(name, op) and re.search(why, reason)), "")


def report(results, *, verbose=False):
    """Return the results as text."""
    lines = [
        f"TF-TRT of TensorFlow {results['tensorflow']} with TensorRT {results['tensorrt']}, "
        "graph conversion without a GPU, nothing built"
    ]
    for graph in results["graphs"]:
        lines += [""] + graph_lines(graph, verbose)
    return "\n".join(lines)


def graph_lines(graph, verbose):
    engines, left = graph["engines"], [node for node in graph["outside"] if not node["harmless"]]
    verdict = f"{numbered(len(engines), 'engine')}, {numbered(len(left), 'operation')} outside"
    if graph["single_engine"]:
        verdict = "one engine contains the network"
    lines = [f"{graph['folder']} in {graph['precision']}: {verdict}", ""]
    rows = [("engine", "operations", "multiply-adds", "first", "last")]
    for each in engines:
        rows.append((each["name"], str(each["nodes"]), share(each["macs"], graph["macs"]), each["first"], each["last"]))
    outside = sum(node["macs"] for node in graph["outside"])
    rows.append(("(TensorFlow)", str(len(graph["outside"])), share(outside, graph["macs"]), "", ""))
    lines += ["  " + line for line in text_table(rows, left=(0, 3, 4)).splitlines()]
    lines += [""] if engines else []
    lines += [f"  {engine['name']}: {counted(engine['ops'])}" for engine in engines]
    ends = collections.Counter(label(node) for node in graph["outside"] if node["harmless"])
    lines += ["", f"  outside at no cost: {counted(ends) or 'nothing'}"]
    lines += left_lines(left, verbose)
    if graph["precision"] == "INT8":
        missing = graph["without_range"]
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        lines.append(f"  tensors in engines without a range: {len(missing)}{f' ({names})' if names else ''}")
    return lines + [f"  TF-TRT notes: {note}" for note in graph["notes"]]


def left_lines(left, verbose):
    """Return the operations left out, grouped by kind and reason."""
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
    return f"Cast {' to '.join(node['types'])}" if node["op"] == "Cast" else node["op"]


def numbered(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def counted(ops):
    return ", ".join(f"{count} {op}" for op, count in sorted(ops.items(), key=lambda item: (-item[1], item[0])))


def share(part, whole):
    return f"{part / whole:.1%}" if whole else "-"


def write_results(target, results):
    if target == "-":
        print(json.dumps(results, indent=2))
        return
    try:
        write_json(target, results)
    except OSError as error:
        raise Failure(f"cannot write {target}: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
