"""Kill commands at random moments, run each again, and start two at once: nothing may be lost, left behind or wrong.

    python tools/check/kill.py                                      20 kills of each command, about a quarter of an hour
    python tools/check/kill.py --kills 3 --only predict --only train

On a few drawn scenes, with a network of a few layers (that of tests/tiny.py), each in a process of its own. It is
killed with SIGKILL at a random moment of its work, after its imports; every second time it begins where its result is
already there. The same command is then run to its end. Its result must be that of an undisturbed one, file by file but
for times that a clock has measured; beside it nothing may be left, in the folder for temporary files neither, and a
file of a person's in the same folder must be there still. Then two are started at once: one must be refused in one
sentence, and the result of the other be whole.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path

import click
import yaml

import deeplab_tf.cli
from deeplab_tf.core.files import files_below
from deeplab_tf.core.tables import markdown_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
import tiny  # noqa: E402

FORK = multiprocessing.get_context("fork")
SLOW = ("data.record_writer", "training.fit", "evaluation.checkpoints", "export.convert")
"""Modules to import before the fork, so that the kill hits the command's own work and not its imports."""
PERSONS = ".mine.txt"
"""A file of a person's, in each folder that a command writes to."""
MANIFEST = ".deeplab-tf.jsonl"
"""What a command writes beside its files, to know them again."""
VOLATILE = re.compile(
    rb'"(seconds|images_per_second|fps|ms|drawn|written|date_saved|shared_object_id)": [^,}\n]*|\d+\.\d\d \|$',
    re.MULTILINE,
)
"""What differs from run to run, in JSON and Markdown: times, what was there before, addresses of objects."""
OTHERS = ("__autograph_generated_file", ".ses", "log-")
"""Temporary files of TensorFlow, which it leaves when it is killed, of ONNX Runtime, and of this program."""


class Case:
    """A command with what it writes."""

    def __init__(self, root: Path, name: str, arguments, out: str):
        self.root, self.name, self.out = root, name, root / out
        self.json = root / f"{name}.json"
        self.arguments = [name, *map(str, arguments), "--json", str(self.json)]
        self.fresh_only = name in ("train", "sample")  # there would be nothing left to do

    def reset(self):
        shutil.rmtree(self.out, ignore_errors=True)
        self.json.unlink(missing_ok=True)
        if self.name not in ("convert", "sample"):  # those take no other files in their folder
            self.out.mkdir(parents=True)
            (self.out / PERSONS).write_text("mine")

    def result(self):
        return contents(self.out)


class Process:
    """A command in a process of its own, forked from this one, which has imported all that is slow to import."""

    def __init__(self, case: Case):
        self.log = case.root / "tmp" / f"log-{uuid.uuid4().hex}"
        self.process = FORK.Process(target=self._run, args=[case.arguments])
        self.process.start()

    def _run(self, arguments):
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.argv[1:] = arguments
        deeplab_tf.cli.main()

    def wait(self):
        """Return exit code and what it printed."""
        self.process.join()
        said = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return self.process.exitcode, said


def contents(folder: Path) -> dict:
    """Return what each file below a folder holds but for times, by name; without TensorBoard's events and MANIFEST."""
    names = [name for name in files_below(folder) if Path(name).name != MANIFEST and "tfevents" not in name]
    return {name: value(folder / name) for name in names}


def value(path: Path) -> str:
    """Return a digest of a file's contents but for what is VOLATILE."""
    if zipfile.is_zipfile(path):  # a network or state, whose members have dates
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    else:
        members = {path.name: path.read_bytes()}
    total = hashlib.sha256()
    for name, data in members.items():
        text = name.endswith((".json", ".jsonl", ".md"))
        total.update(name.encode() + (VOLATILE.sub(b"", re.sub(b"[ -]+", b" ", data)) if text else data))
    return total.hexdigest()


def cases(root: Path) -> list:
    """Draw scenes, train a network on them, and return a case for each command."""
    scenes, recipe, run = root / "scenes", root / "recipe.yaml", root / "run"
    sample = ["--scenes", "6", "--size", "64x128", "--jobs", "1"]
    narrow = {"aspp_channels": 16, "decoder_channels": 16, "low_level_channels": 8}
    sections = {
        "data": {"name": "cityscapes", "root": str(scenes), "size": [64, 128]},
        "augment": {"crop": [64, 64]},
        "model": {"separable": False, "batch_norm_momentum": 0.8, **narrow},
        "optimizer": {"ema": 0.8},
        "training": {"steps": 6, "batch_size": 2, "validate_every": 3, "checkpoint_every": 2, "save_steps": [5]},
    }
    recipe.write_text(yaml.safe_dump(sections))
    (root / "tmp").mkdir()
    small = ["--calibration-images", "2", "--score-images", "1", "--calibration", "min-max"]
    rows = (
        ("sample", [root / "drawn", *sample], "drawn"),
        ("prepare", [recipe, "--out", root / "records"], "records"),
        ("train", [recipe, "--run", root / "trained", "--resume"], "trained"),
        ("predict", [run, scenes / "leftImg8bit", "--out", root / "out", "--format", "panoptic"], "out"),
        ("evaluate", [run, "--out", root / "scores"], "scores"),
        ("report", [run], "run/report"),
        ("convert", [run, "--int8", "--target", "onnx", *small], "run/bundle"),
    )
    for name, *arguments in (("sample", scenes, *sample), ("train", recipe, "--run", run)):
        code, said = Process(Case(root, name, arguments, "nothing")).wait()
        if code:
            sys.exit(said)
        (root / f"{name}.json").unlink()
    return [Case(root, *row) for row in rows]


class Trial:
    """Kills a command, again and again."""

    def __init__(self, case: Case, rng: random.Random):
        self.case, self.rng = case, rng
        self.kills = self.right = self.lost = 0
        self.left: set = set()
        case.reset()
        self.around = self._around()
        self.seconds, self.expected = self._undisturbed()

    def _undisturbed(self):
        start = time.monotonic()
        code, said = Process(self.case).wait()
        if code:
            sys.exit(said)
        return time.monotonic() - start, self.case.result()

    def _around(self):
        """Return what lies beside what the command writes: name -> contents of a file, None of a folder."""
        found = {}
        for parent, folders, names in os.walk(self.case.root):
            folders[:] = [name for name in folders if Path(parent, name) != self.case.out]
            found.update({os.path.join(parent, name): None for name in folders})
            files = [name for name in names if not name.startswith(OTHERS)]
            found.update({os.path.join(parent, name): value(Path(parent, name)) for name in files})
        found.pop(str(self.case.json), None)
        return found

    def kill(self):
        """Kill it once and run it again."""
        if self.case.fresh_only or self.kills % 2:
            self.case.reset()
        share = 1.0
        while True:
            victim = Process(self.case)
            time.sleep(self.rng.uniform(0, self.seconds * share))
            victim.process.kill()
            if victim.wait()[0] == -signal.SIGKILL:
                break
            share *= 0.8  # it was faster than the undisturbed one
            self.case.reset()
        self.kills += 1
        code, said = Process(self.case).wait()
        self._judge(code == 0, said)

    def _judge(self, done, said):
        found = self.case.result()
        same = done and {name: found.get(name) for name in self.expected} == self.expected
        if not same:
            different = [name for name in self.expected if found.get(name) != self.expected[name]]
            click.echo(f"{self.case.name}: different: {different}\n{said}", err=True)
        self.right += same
        self.lost += any(name not in found for name in self.expected if Path(name).name == PERSONS)
        around = self._around()
        self.left |= (set(found) - set(self.expected)) | (set(around) - set(self.around))
        self.lost += any(around.get(name, "") != self.around[name] for name in self.around)

    def two_at_once(self) -> str:
        """Return how two that begin together end."""
        for _ in range(5):
            self.case.reset()
            pair = [Process(self.case), Process(self.case)]
            ends = sorted((process.wait() for process in pair), key=lambda end: end[0])
            codes = [code for code, _ in ends]
            if codes == [0, 0]:
                continue  # one after the other
            errors = [line for line in ends[1][1].splitlines() if line.startswith("Error: ")]
            whole = self.case.result() == self.expected
            sentence = (
                len(errors) == 1 and "Another process is writing to" in errors[0] and "Traceback" not in ends[1][1]
            )
            return "one refused" if codes == [0, 1] and sentence and whole else f"{codes} {ends[1][1]}"
        return "never together"


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--kills", default=20, show_default=True, help="How often each command is killed.")
@click.option("--only", multiple=True, help="Only this command; repeatable.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--json", "json_file", help="Write the table here.")
def main(kills, only, seed, json_file):
    rows = []
    for name in SLOW:
        importlib.import_module(f"deeplab_tf.lab.{name}")
    tiny.use_backbone()
    root = Path(tempfile.mkdtemp(prefix="deeplab-tf-kill-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(root / "tmp")
    try:
        for case in cases(root):
            if only and case.name not in only:
                continue
            trial = Trial(case, random.Random(seed))
            for _ in range(kills):
                trial.kill()
            row = {
                "command": case.name,
                "seconds": round(trial.seconds, 1),
                "kills": trial.kills,
                "right results": trial.right,
                "left behind": len(trial.left),
                "lost": trial.lost,
                "two at once": trial.two_at_once(),
            }
            rows.append(row)
            click.echo(f"{row} {sorted(trial.left) or ''}", err=True)
    finally:
        shutil.rmtree(root)
    click.echo(markdown_table([list(rows[0]), *([str(each) for each in row.values()] for row in rows)]))
    if json_file:
        Path(json_file).write_text(json.dumps(rows, indent=2) + "\n")
    good = all(
        row["right results"] == row["kills"]
        and not row["left behind"]
        and not row["lost"]
        and row["two at once"] == "one refused"
        for row in rows
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
