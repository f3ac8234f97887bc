"""click's test runner with standard error kept apart, in the versions of the lab and of a Jetson alike."""

import inspect

import click.testing


def CliRunner():
    """Return the runner; before 8.2 click needed an argument for this, which newer versions do not take."""
    needed = "mix_stderr" in inspect.signature(click.testing.CliRunner.__init__).parameters
    return click.testing.CliRunner(mix_stderr=False) if needed else click.testing.CliRunner()
