"""Files and folders appear whole or not at all; digests change with what they are of."""

import contextlib
import itertools
import os
import sys

import pytest

from deeplab_tf.core import files


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(target) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(str(tmp_path)) == ["a.txt"]


def test_a_full_disk_is_named_by_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(OSError) as caught, files.replacing(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "a.txt"))


def test_a_temporary_file_keeps_the_suffix(tmp_path):
    with files.replacing(tmp_path / "model.keras", sync=True) as temporary:
        assert temporary.endswith(".keras") and os.path.basename(temporary).startswith(".")
        with open(temporary, "w"):
            pass
    assert os.listdir(str(tmp_path)) == ["model.keras"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    files.write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"


def test_a_new_folder_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("")
    with files.new_folder(target) as part:
        assert (target / "old").exists()
        with open(os.path.join(part, "new"), "w"):
            pass
    assert os.listdir(str(target)) == ["new"]
    assert os.listdir(str(tmp_path)) == ["bundle"]


def test_a_failing_folder_leaves_the_old_one(tmp_path):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(RuntimeError), files.new_folder(tmp_path / "bundle"):
        raise RuntimeError
    assert os.listdir(str(tmp_path)) == ["bundle"]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_next_call_finishes_what_a_process_killed_in_the_swap_left(tmp_path, swapped):
    target, users = tmp_path / "bundle", tmp_path / "bundle.mine.old"
    users.mkdir()
    for folder, content in (
        (target if swapped else tmp_path / ".deeplab-tf.bundle.0123abcd.part", "new"),
        (users, "mine"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / content).write_text("")
    old = tmp_path / ".deeplab-tf.bundle.0123abcd.old"
    old.mkdir()
    (old / "old").write_text("")
    with pytest.raises(RuntimeError), files.new_folder(target):
        raise RuntimeError
    assert os.listdir(str(target)) == ["new" if swapped else "old"]
    assert sorted(os.listdir(str(tmp_path))) == ["bundle", users.name]


def test_another_process_in_its_swap_is_left_alone(tmp_path):
    (tmp_path / "bundle").mkdir()
    with files.new_folder(tmp_path / "bundle") as part:
        old = part[: -len(".part")] + ".old"
        os.rename(str(tmp_path / "bundle"), old)
        files._remove_leftovers(str(tmp_path / "bundle"))
        assert os.path.isdir(old) and os.path.isdir(part) and not (tmp_path / "bundle").exists()
        os.rename(old, str(tmp_path / "bundle"))


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path):
    def digest(**contents):
        folder = tmp_path / "-".join(sorted(contents))
        folder.mkdir(exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text)
        return files.sha256(folder)

    assert len({digest(a="x"), digest(b="x"), digest(a="y"), digest(a="x", b="")}) == 4
    assert files.sha256(tmp_path / "a" / "a") == "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_interrupt_at_any_line_leaves_no_unfinished_file(tmp_path):
    """Signals come between any two steps: one is raised before each line of `files` in turn, and kept, as at the end of
    a program, where nothing of the interrupted frames is cleaned up."""
    kept = []
    for number in range(200):
        count = itertools.count()

        def trace(frame, event, argument, number=number, count=count):
            if frame.f_code.co_filename != files.__file__:
                return None
            if event == "line" and next(count) == number:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            files.write_bytes(tmp_path / "a.txt", b"whole")
        except KeyboardInterrupt as error:
            kept.append(error)
        finally:
            sys.settrace(before)
        files._remove_unfinished(*files._unfinished)  # as at exit
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} in ({}, {"a.txt": b"whole"}), number
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "a.txt").unlink()
        if next(count) <= number:
            break
    assert 10 < len(kept) < 200
    kept.clear()
