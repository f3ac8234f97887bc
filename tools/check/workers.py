"""Train as several workers, with real processes: the same weights as one, killed, stopped and counted.

    python tools/check/workers.py                    all of it, about a quarter of an hour on 2 cores
    python tools/check/workers.py --only killed

`cases`: each kind of training on two workers against one process (tests/worker_cases.py). `killed`, `stopped`:
`deeplab-tf train --workers 2`, of which one worker gets SIGKILL or SIGTERM. `bytes`: what two workers send over the
loopback device in a step, against the plan in docs/scale.md. `rate`: what a slow network adds to a step, against that
plan. `sample`: the demo's recipe on one process and on two workers, to the same mIoU (another quarter of an hour).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from deeplab_tf.lab.training.local_workers import free_ports

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))
import tiny  # noqa: E402
import worker_cases  # noqa: E402

STEPS = 40
OTHERS = ("own_norm", "hard")
"""Cases whose workers take statistics or pixels of their own part: other networks than that of one process."""
BACKBONE = "from tiny import backbone as build\nfrom deeplab_tf.lab.models.backbones.resnet50 import NORMALIZATION\n"


def check_cases(root):
    """Rows of: case, distance to one process; both workers have the same bits, and the same ones each time."""
    tiny.use_backbone()
    for name in worker_cases.CASES:
        found = worker_cases.train(root / f"{name}.yaml", root / "alone" / name)
        assert "error" not in found, found
    shutil.copytree(root / "alone" / "plain", root / "begun")
    shutil.copytree(root / "begun", root / "begun_before")
    results = []
    for _ in range(2):
        ports, cases = free_ports(2), list(worker_cases.CASES)
        pair = worker_cases.finish(root, [worker_cases.start(root, rank, ports, cases) for rank in range(2)])
        results.append(pair)
        shutil.rmtree(root / "begun")
        shutil.copytree(root / "begun_before", root / "begun")
        shutil.rmtree(root / "pair_before", ignore_errors=True)
        (root / "pair").rename(root / "pair_before")
    for name in worker_cases.CASES:
        digests = [each.get(name, {}).get("digest", each[name].get("error")) for pair in results for each in pair]
        assert len(set(digests)) == 1, (name, digests)
        far = worker_cases.distance(root / "pair_before" / name, root / "alone" / name)
        assert name in OTHERS or far < (1e-3 if name == "half" else 1e-5), (name, far)
        yield name, f"{far:.1e}"


class Launch:
    """`deeplab-tf train --workers 2` with a network of a few layers."""

    def __init__(self, root: Path, run: Path, *options: str, recipe: str = "launched"):
        self.run = run
        arguments = ["train", str(root / f"{recipe}.yaml"), "--run", str(run), "--workers", "2", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_tf", *arguments],
            env=tiny.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, step: int) -> None:
        """Wait until a state of this step or a later one is saved."""
        while not any(int(path.stem[5:]) >= step for path in (self.run / "checkpoints").glob("step_*.npz")):
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to one worker."""
        parent = self.process.pid
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            found = re.search(rb'"index": (\d+)', Path(f"/proc/{pid}/environ").read_bytes())
            if found and int(found[1]) == rank:
                os.kill(int(pid), number)

    def end(self) -> tuple[int, str, float]:
        """Return exit code, last line and seconds."""
        start = time.monotonic()
        said = self.process.communicate(timeout=600)[0].strip().splitlines()
        return self.process.returncode, said[-1] if said else "", time.monotonic() - start


def whole(root):
    """Return the run that nobody disturbs."""
    if not (root / "whole").exists():
        code, said, _ = Launch(root, root / "whole").end()
        assert code == 0, said
    return worker_cases.weights(root / "whole")


def same(root, run):
    pairs = zip(whole(root), worker_cases.weights(run), strict=True)
    return all((ours == theirs).all() for ours, theirs in pairs)


def check_killed(root):
    """Rows of: what was done, seconds to the end, last line; the resumed run has the bits of the whole."""
    whole(root)
    for rank in (1, 0):
        launch = Launch(root, root / f"killed_{rank}")
        launch.wait_for(10)
        launch.signal(rank, signal.SIGKILL)
        code, said, seconds = launch.end()
        assert code == 1
        code, text, _ = Launch(root, launch.run, "--resume").end()
        assert code == 0 and same(root, launch.run), text
        yield f"worker {rank} killed", f"{seconds:.1f} s", said
    launch = Launch(root, root / "again", "--retries", "3")
    for step in (10, 20):
        launch.wait_for(step)
        launch.signal(1, signal.SIGKILL)
    code, said, seconds = launch.end()
    assert code == 0 and same(root, launch.run), said
    yield "worker 1 killed twice, --retries 3", f"{seconds:.1f} s", said


def check_stopped(root):
    """The same for SIGTERM."""
    for rank in (1, 0):
        launch = Launch(root, root / f"stopped_{rank}")
        launch.wait_for(10)
        launch.signal(rank, signal.SIGTERM)
        code, said, seconds = launch.end()
        assert code == 130 and "is saved" in said, (code, said)
        code, text, _ = Launch(root, launch.run, "--resume").end()
        assert code == 0 and same(root, launch.run), text
        yield f"worker {rank} gets SIGTERM", f"{seconds:.1f} s", said


def check_bytes(root):
    """Rows of: parameters, precision of the gradients, bytes a step and worker that the plan has, that were sent, and
    their ratio.

    What else uses the loopback device in the meantime is counted, too.
    """
    write_bytes_recipe(root)
    parameters, sent = parameters_of(root / "bytes.yaml"), {}
    for precision, size in (("float32", 4), ("float16", 2)):
        for steps in (5, 25):
            write_bytes_recipe(root, gradient_precision=precision, steps=steps)
            before = loopback()
            code, said, _ = Launch(root, root / f"{precision}_{steps}", recipe="bytes").end()
            assert code == 0, said
            sent[steps] = loopback() - before
        measured = (sent[25] - sent[5]) / 20 / 2
        planned = size * parameters
        yield parameters, precision, f"{planned}", f"{measured:.0f}", f"{measured / planned:.2f}"


def parameters_of(recipe):
    """Return the number of parameters that `budget` counts."""
    report = subprocess.run(
        [sys.executable, "-m", "deeplab_tf", "budget", str(recipe), "--json", "-"],
        env=tiny.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(report.stdout)["parameters"]


def loopback():
    """Return the bytes that the loopback device has sent."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


def check_rate(root):
    """Rows of: Mbit/s of the loopback device of a network namespace, seconds that a step takes longer than without a
    limit, those of the plan, and their ratio. It needs root. Both workers share the device.
    """
    write_bytes_recipe(root, steps=40)
    planned = 2 * 8 * 4 * parameters_of(root / "bytes.yaml") / 1e6
    free = seconds_a_step(root, None)
    for rate in (100, 40):
        longer = seconds_a_step(root, rate) - free
        yield f"{rate} Mbit/s", f"{longer:.3f} s", f"{planned / rate:.3f} s", f"{longer / planned * rate:.2f}"


def write_bytes_recipe(root, **training):
    """Write bytes.yaml, a network of 0.7 million parameters: the messages of a small one are mostly headers."""
    tree = tiny.recipe(root / "data")
    tree["model"] = {**worker_cases.HEAD, "backbone": "resnet18", "weights": "none", "width": 0.25}
    tree["training"].update(validate_every=1000, checkpoint_every=1000, save_steps=[], log_every=10, **training)
    tiny.write_recipe(root / "bytes.yaml", tree)


def seconds_a_step(root, rate):
    """Return the seconds of a step of two workers in a namespace whose loopback device carries `rate` Mbit/s."""
    name, run = f"deeplab{os.getpid()}", root / f"rate_{rate}"
    inside = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up", "mtu", "1500"], check=True)
        if rate:
            limit = f"tc qdisc add dev lo root tbf rate {rate}mbit burst 64kb latency 200ms"
            subprocess.run([*inside, *limit.split()], check=True)
        arguments = ["train", str(root / "bytes.yaml"), "--run", str(run), "--workers", "2"]
        command = [*inside, sys.executable, "-m", "deeplab_tf", *arguments]
        subprocess.run(command, env=tiny.environment(), check=True, capture_output=True)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    at = {row["step"]: row["seconds"] for row in rows if "seconds" in row}
    return (at[40] - at[10]) / 30


def check_sample(root):
    """Rows of: workers, mIoU of `sample_small` on them; `make demo` trains the same on one. All as a user would."""
    scenes = root / "scenes"
    deeplab_tf("sample", str(scenes), "--scenes", "250", "--size", "256x512", "--seed", "1")
    scores = {}
    for workers in (1, 2):
        run, several = root / f"sample_{workers}", ["--workers", str(workers)] if workers > 1 else []
        recipe = str(REPOSITORY / "configs" / "sample_small.yaml")
        deeplab_tf("train", recipe, "--set", f"data.root={scenes}", "--run", str(run), *several)
        scores[workers] = json.loads(deeplab_tf("evaluate", str(run), "--json", "-"))["miou"]
        yield workers, f"mIoU {scores[workers]:.3f}"
    assert abs(scores[2] - scores[1]) <= 0.02, scores


def deeplab_tf(*arguments):
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "deeplab_tf", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


CHECKS = {
    "cases": check_cases,
    "killed": check_killed,
    "stopped": check_stopped,
    "bytes": check_bytes,
    "rate": check_rate,
    "sample": check_sample,
}


@click.command()
@click.option("--only", type=click.Choice(sorted(CHECKS)), multiple=True, help="Check this alone; repeatable.")
def main(only):
    """Check training over several workers with real processes."""
    for name in only or CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            worker_cases.write_recipes(root)
            (root / "small.py").write_text(BACKBONE)
            tree = tiny.recipe(root / "data")
            tree["model"] = {**worker_cases.HEAD, "backbone": str(root / "small.py")}
            tree["training"].update(steps=STEPS, validate_every=STEPS, checkpoint_every=10, save_steps=[])
            tiny.write_recipe(root / "launched.yaml", tree)
            for row in CHECKS[name](root):
                click.echo(f"{name}: {'; '.join(str(each) for each in row)}")


if __name__ == "__main__":
    main()
