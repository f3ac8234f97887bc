"""Several workers train the network that one process trains."""

import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
import tiny
import worker_cases
from click.testing import CliRunner
from worker_cases import LONGER, STEPS, rows, train

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.lab.config import load
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.split import Chosen
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training.callbacks import AgreedStop
from deeplab_tf.lab.training.local_workers import free_ports
from deeplab_tf.lab.training.stopping import StopSignal
from deeplab_tf.lab.training.worker_facts import check_workers
from deeplab_tf.lab.workers import LEFT, Workers, read_tf_config, reason

CASES = ("plain", "panoptic")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the recipes, and their runs of one process in `alone`: `plain` for more steps, `begun` without
    those."""
    root = tmp_path_factory.mktemp("workers")
    worker_cases.write_recipes(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.use_backbone(monkeypatch)
        for name in CASES:
            train(root / f"{name}.yaml", root / "alone" / name)
        shutil.copytree(root / "alone" / "plain", root / "begun")
        train(root / "plain.yaml", root / "never", f"training.steps={LONGER}")
    return root


@pytest.fixture(scope="module")
def pair(alone):
    """The folder with the runs of two workers in `pair`, and what each worker returned."""
    ports = free_ports(2)
    return alone, worker_cases.finish(alone, [worker_cases.start(alone, rank, ports, CASES) for rank in range(2)])


@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_the_weights_of_one(pair, case):
    root, results = pair
    assert results[0][case]["digest"] == results[1][case]["digest"]
    assert worker_cases.distance(root / "pair" / case, root / "alone" / case) < 1e-5  # sums in another order


@pytest.mark.parametrize("case", CASES)
def test_a_shared_validation_gives_the_score_of_each_network(pair, case, monkeypatch):
    root, results = pair
    tiny.use_backbone(monkeypatch)
    network = open_run(root / "pair" / case)
    split = open_split(network.config.data, "val")
    assert len(split) == 7
    scores = rows(root / "pair" / case, "val")[-1]
    check_same_scores(scores, evaluate(network, split).report())
    key = "best_pq" if case == "panoptic" else "best_miou"
    assert results[0][case][key] == results[1][case][key] == scores[key[5:]] > 0
    if case == "plain":
        one = evaluate(network, Chosen(split, [3])).report()
        for result in results:
            check_same_scores(result["one"], one)


def check_same_scores(ours, theirs):
    for key in set(theirs) - {"images_per_second", "warnings"}:
        assert ours[key] == theirs[key], key


def test_a_run_goes_on_with_another_number_of_workers(pair, monkeypatch):
    root, results = pair
    tiny.use_backbone(monkeypatch)
    shutil.copytree(root / "pair" / "plain", root / "fewer")
    train(root / "plain.yaml", root / "fewer", f"training.steps={LONGER}", resume=True)
    expected = rows(root / "never", "loss")
    assert len(expected) == results[0]["resumed"]["step"] == LONGER > STEPS
    for run in (root / "begun", root / "fewer"):
        np.testing.assert_allclose(rows(run, "loss"), expected, rtol=1e-4)


def test_a_worker_with_another_recipe_is_named(pair):
    root, results = pair
    for each in results:
        assert each["other"]["error"] == (
            "Worker 1 differs from worker 0 in optimizer.learning_rate: 0.1 there, 0.05 on worker 0. All workers need "
            "the same recipe, files and version."
        )
    assert not (root / "pair" / "other").exists()


def test_a_batch_that_cannot_be_shared_is_refused(alone):
    config = load(alone / "plain.yaml", ["training.batch_size=4"])
    with pytest.raises(DeepLabError, match="training.batch_size is 4, which 3 workers cannot share evenly"):
        check_workers(Workers(3, 0), config, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, 0)),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', (2, 1)),
        # as Kubeflow's TFJob has it: the chief is the first
        ('{"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}', (2, 1)),
        ('{"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', (2, 0)),
    ],
)
def test_places_in_a_cluster(text, expected):
    assert read_tf_config(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("worker", "TF_CONFIG must be JSON such as"),
        ('{"cluster": ["a:1"]}', "TF_CONFIG must be JSON such as"),
        ('{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}', "It also names: ps"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "an index from 0"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "an index from 0"),
    ],
)
def test_a_bad_cluster_is_refused(text, sentence):
    with pytest.raises(WrongCall, match=sentence):
        read_tf_config(text)


def test_why_another_worker_is_missed():
    told = tf.errors.InvalidArgumentError(None, None, f"aborted by: {LEFT.format(1, 'a.png is damaged.')}\nRestart")
    assert reason(told) == "Worker 1 has left: a.png is damaged."
    lost = "Error reported from /job:worker/task:2: Task /job:worker/replica:0/task:2 heartbeat timeout. This indicates"
    gone = "is gone: it was killed, or its machine or network failed."
    assert reason(tf.errors.UnavailableError(None, None, lost)) == f"Worker 2 {gone}"
    closed = "Socket closed\nAdditional GRPC error from remote target /job:worker/replica:0/task:0 while calling /x"
    assert reason(tf.errors.UnavailableError(None, None, closed)) == f"Worker 0 {gone}"
    assert reason(tf.errors.InvalidArgumentError(None, None, "shapes differ")) is None


def test_what_does_not_go_together_is_refused(alone, monkeypatch):
    recipe = str(alone / "plain.yaml")
    result = CliRunner().invoke(group, ["train", recipe, "--retries", "2"])
    assert result.exit_code == 2 and "--retries is for --workers" in result.output
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    result = CliRunner().invoke(group, ["train", recipe, "--workers", "2"])
    assert result.exit_code == 2 and "--workers starts all workers itself" in result.output


class Pair(Workers):
    """Two workers, of which the other one says nothing; `during` is called in each agreement."""

    def __init__(self, during):
        super().__init__(2, 0)
        self.during = during

    def any(self, *flags):
        self.during()
        return flags


def test_a_signal_in_an_agreement_counts_at_the_next_one():
    """And until then nothing stops: the other worker takes the next step."""
    stop = StopSignal(shared=True)
    agreed = AgreedStop(stop, Pair(lambda: setattr(stop, "requested", True)))
    agreed.set_model(types.SimpleNamespace(stop_training=False))
    agreed.after_step(1, {})
    assert stop.requested and not stop.due
    assert list(stop.watch([1, 2])) == [1, 2]  # a validation is everybody's
    agreed.after_step(2, {})
    assert stop.due and agreed.workers.agreed
    with pytest.raises(KeyboardInterrupt):
        stop.check()


class Twice(Workers):
    """A stand-in for two workers that have the same gradients; keeps the types of what they send."""

    def __init__(self):
        super().__init__(2, 0)
        self.sent = []

    def _reduce(self, tensor, key, group=1):
        self.sent.append(tensor.dtype.name)
        return tensor + tensor


def test_gradients_in_float16_keep_eleven_bits_at_any_size_and_never_overflow():
    small = np.geomspace(1e-6, 1, 1000, dtype=np.float32)
    for factor in (1e-25, 1.0, 1e25):  # float16 itself has 6e-8 to 65,504
        workers, gradients = Twice(), [tf.constant(small * factor), tf.constant([[-0.5 * factor]], tf.float32)]
        (first, second), (seen,) = workers.sum_gradients(gradients, [tf.constant([3.25])], half=True)
        np.testing.assert_allclose(first, 2 * small * factor, rtol=2**-11)
        np.testing.assert_allclose(second, [[-factor]], rtol=2**-11)
        assert workers.sent == ["float32", "float16"] and seen.numpy() == 6.5
    (zero,), _ = Twice().sum_gradients([tf.zeros(3)], [], half=True)
    assert not zero.numpy().any()
    (bad,), _ = Twice().sum_gradients([tf.constant([np.nan, 1.0])], [], half=True)
    assert np.isnan(bad.numpy()[0])  # so that a step which fails is seen to
