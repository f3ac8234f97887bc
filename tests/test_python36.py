"""The deploy floor on the Python of a Jetson Nano: its tests run again there, and every command has a help."""

import os
import subprocess

from environments import ROOT, python36

CHOSEN = (
    "test_bundle.py",
    "test_cli.py",
    "test_confusion.py",
    "test_device.py",
    "test_draw.py",
    "test_image_files.py",
    "test_locks.py",
    "test_grouping.py",
    "test_guard.py",
    "test_scenes.py::test_a_scene_depends_on_seed_and_index_alone",
    "test_scenes.py::test_the_same_street_at_every_size",
    "test_processor.py",
    "test_score.py",
    "test_secrets.py::test_each_form_of_an_argument_is_overwritten",
    "test_secrets.py::test_ps_shows_no_secret_while_a_camera_does_not_answer",
    "test_stream_command.py",
    "test_video_address.py",
    "test_video_camera.py",
    "test_video_sinks.py",
    "test_video_sources.py",
    "test_zone_file.py",
    "test_zones.py",
)


def run(*arguments):
    """(exit code, both streams) of that Python."""
    variables = dict(os.environ, LANG="C.UTF-8", PYTHONPATH=str(ROOT))
    call = [python36(), *arguments]
    result = subprocess.run(call, cwd=str(ROOT), env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout.decode()


def test_the_deploy_floor_passes_its_tests():
    code, text = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *("tests/" + name for name in CHOSEN))
    assert code == 0, text


def test_every_module_imports_and_every_command_has_a_help():
    source = (
        "import importlib, pkgutil, sys, deeplab_tf\n"
        "names = [m.name for m in pkgutil.walk_packages(deeplab_tf.__path__, 'deeplab_tf.', onerror=lambda name: "
        "None)]\n"
        "floor = [name for name in names if not name.startswith('deeplab_tf.lab') and name != 'deeplab_tf.__main__']\n"
        "for name in floor: importlib.import_module(name)\n"
        "from click.testing import CliRunner\n"
        "from deeplab_tf.cli import group\n"
        "for name in group.list_commands(None):\n"
        "    result = CliRunner().invoke(group, [name, '--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
        "print(len(floor), sys.version_info[:2])\n"
    )
    code, text = run("-c", source)
    assert code == 0, text
    assert "(3, 6)" in text and int(text.split()[0]) > 40
