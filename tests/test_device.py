"""Facts of a machine, read from made-up /proc and /sys folders."""

import pytest

from deeplab_tf.deploy import device


def write(root, files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return str(root)


def zone(number, kind, value):
    folder = f"sys/class/thermal/thermal_zone{number}/"
    return {folder + "type": kind + "\n", folder + "temp": value + "\n"}


def cooling(number, kind, state):
    folder = f"sys/class/thermal/cooling_device{number}/"
    return {folder + "type": kind + "\n", folder + "cur_state": state + "\n"}


def test_the_name_is_the_boards_or_the_processors(tmp_path):
    files = {"proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n"}
    assert device.name(write(tmp_path, files)) == "ARMv8 Processor rev 1 (v8l)"
    assert (
        device.name(write(tmp_path, {"proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0"}))
        == "NVIDIA Jetson Nano Developer Kit"
    )


def test_temperature_is_that_of_the_hottest_zone(tmp_path):
    files = dict(zone(0, "CPU-therm", "41500"))
    files.update(zone(1, "GPU-therm", "52250"))
    files.update(zone(2, "PMIC-Die", "100000"))  # a constant
    files.update(zone(3, "tj", "-256000"))  # switched off
    assert device.temperature_c(write(tmp_path, files)) == 52.25


@pytest.mark.parametrize("state, expected", [("0", False), ("3", True)])
def test_fans_do_not_throttle(tmp_path, state, expected):
    files = dict(cooling(0, "pwm-fan", "2"))
    files.update(cooling(1, "gpu-balanced", state))
    assert device.throttled(write(tmp_path, files)) is expected


def test_unknown_facts_are_none(tmp_path):
    files = dict(cooling(0, "pwm-fan", "2"))
    files.update(zone(0, "CPU-therm", "not a number"))
    root = write(tmp_path, files)
    assert device.throttled(root) is None and device.temperature_c(root) is None
    assert device.name(root)
