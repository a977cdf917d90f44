"""What each subcommand does: it takes the parsed arguments and the options, and returns the exit status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kubevip_keeper._exit_status import REFUSED

if TYPE_CHECKING:
    import argparse

    from kubevip._options import Options
    from kubevip._plugins import PluginRegistry
    from kubevip.abc import Command

    CarryOut = Callable[[argparse.Namespace, Options], int]


def run(parsed: argparse.Namespace, options: Options) -> int:
    """Run the control process until it is asked to stop."""
    import os

    from kubevip._app import run as run_node
    from kubevip._logging import configure_logging, make_stderr_patient

    make_stderr_patient()
    configure_logging(options.log_level, options.log_format, os.environ)
    return run_node(options)


def check(parsed: argparse.Namespace, options: Options) -> int:
    """Print every problem of a configuration file."""
    from kubevip._check import render_check, render_refusal
    from kubevip._survey import survey
    from kubevip.errors import ConfigError

    registry = _registry(options)
    try:
        found = survey(options, registry, is_about_file=True)
    except ConfigError as error:
        print(render_refusal(error.problems))
        return REFUSED
    print(render_check(found))
    return REFUSED if found.errors else 0


def plan(parsed: argparse.Namespace, options: Options) -> int:
    """Print what this machine would do with a configuration file."""
    from kubevip._check import render_refusal
    from kubevip._plan_text import render_plan
    from kubevip._survey import survey
    from kubevip.errors import ConfigError

    registry = _registry(options)
    try:
        found = survey(options, registry)
    except ConfigError as error:
        print(render_refusal(error.problems))
        return REFUSED
    print(render_plan(found))
    return REFUSED if found.errors else 0


def plugins(parsed: argparse.Namespace, options: Options) -> int:
    """List what the installed plugins provide."""
    from kubevip._plugin_table import render_plugins
    from kubevip._plugins import PluginRegistry

    registry = PluginRegistry.load(options.plugins)
    print(render_plugins(registry))
    return REFUSED if parsed.check and registry.broken else 0


def sample(parsed: argparse.Namespace, options: Options) -> int:
    """Print a configuration file to begin with."""
    from kubevip._sample import NATIVE, ORIGINAL

    print(NATIVE if parsed.native else ORIGINAL, end="")
    return 0


def status(parsed: argparse.Namespace, options: Options) -> int:
    """Print what the daemon is doing."""
    from kubevip._status_text import show

    return show(options.state_dir, as_json=parsed.json, check=parsed.check, ready=parsed.ready)


def move(parsed: argparse.Namespace, options: Options) -> int:
    """Have another node hold a group."""
    return _ask(options, "move", group=parsed.group, to=parsed.to)


def drain(parsed: argparse.Namespace, options: Options) -> int:
    """Make this node hold nothing, or take part again."""
    return _ask(options, "drain", undo=parsed.undo)


def reload(parsed: argparse.Namespace, options: Options) -> int:
    """Have the daemon read its configuration again."""
    return _ask(options, "reload")


def cleanup(parsed: argparse.Namespace, options: Options) -> int:
    """Remove what an instance left behind that no longer runs."""
    from kubevip._cleanup import cleanup as clean_up
    from kubevip._plugins import PluginRegistry

    removed = clean_up(options, PluginRegistry.load(options.plugins))
    for thing in removed:
        print(f"removed {thing}")
    if not removed:
        print(f"instance {options.instance} left nothing behind")
    return 0


def version(parsed: argparse.Namespace, options: Options) -> int:
    """Print the version."""
    from kubevip import __version__

    print(f"kubevip {__version__}")
    return 0


def of_plugin(command: Command) -> CarryOut:
    """Return what carries out a plugin's command."""

    def carry_out(parsed: argparse.Namespace, options: Options) -> int:
        from kubevip.control import Client

        return command.run(parsed, Client(options.state_dir))

    return carry_out


def _registry(options: Options) -> PluginRegistry:
    from kubevip._bootstrap import load_plugins

    return load_plugins(options)


def _ask(options: Options, verb: str, **args: object) -> int:
    from kubevip.control import Client

    print(Client(options.state_dir).request(verb, args))
    return 0
