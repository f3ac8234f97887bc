"""click's test runner with standard error kept apart, in the versions of the lab and of a Jetson alike."""

import inspect

import click.testing


def CliRunner():
    """Before 8.2 click had to be told; since then it does not take the argument."""
    told = "mix_stderr" in inspect.signature(click.testing.CliRunner.__init__).parameters
    return click.testing.CliRunner(mix_stderr=False) if told else click.testing.CliRunner()
