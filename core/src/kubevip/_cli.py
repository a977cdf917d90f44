"""The command line of `kubevip`: which subcommands there are, and what each of them calls.

Exit statuses: 0 good; 1 it ran and the result is bad; 2 usage; 69 no daemon answers; 77 the machine does not permit it;
78 the configuration or a plugin is refused. What a command needs is imported when it is called, so that the parser and
`kubevip version` cost nothing. Plugins are looked at only for a command that is none of the core's own, and for help.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from kubevip import _commands as commands
from kubevip._options import LOG_FORMATS, LOG_LEVELS, options_from
from kubevip.errors import ConfigError, KubevipError, NoDaemonError, NotPermittedError, PluginError
from kubevip_keeper._exit_status import BAD_RESULT, NO_DAEMON, NOT_PERMITTED, REFUSED, USAGE
from kubevip_keeper._place import PlaceError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubevip._commands import CarryOut

#: As shells report a process that SIGINT ended.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (default: this process's own); return the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _make_parser()
    if not arguments or arguments[0] not in parser.names:
        _add_plugin_commands(parser)
    try:
        parsed, unknown = parser.whole.parse_known_args(arguments)
        if unknown:
            parser.of(parsed.command).error(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as leave:  # argparse has printed usage, an error or help
        return leave.code if isinstance(leave.code, int) else USAGE
    if parsed.command is None:
        parser.whole.print_help(sys.stderr)
        return USAGE
    try:
        status = _carry_out(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD_RESULT
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _carry_out(parsed: argparse.Namespace) -> int:
    try:
        options = options_from(vars(parsed), os.environ)
    except ValueError as error:
        return _fail(str(error), USAGE)
    except PlaceError as error:
        return _fail(str(error), error.exit_status)
    try:
        return int(parsed.carry_out(parsed, options))
    except KubevipError as error:
        return _fail(str(error), status_of(error))


def status_of(error: KubevipError) -> int:
    """Return the exit status that an error stands for."""
    if isinstance(error, ConfigError | PluginError):
        return REFUSED
    if isinstance(error, NotPermittedError):
        return NOT_PERMITTED
    return NO_DAEMON if isinstance(error, NoDaemonError) else BAD_RESULT


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"kubevip: {message}\n")
    return status


class _Parser:
    """The parser, with a parser for each subcommand."""

    def __init__(self) -> None:
        self.whole = argparse.ArgumentParser(
            prog="kubevip",
            description="A virtual IP address that always has a holder, and a load balancer on it.",
            allow_abbrev=False,
        )
        self._commands = self.whole.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        self._parsers: dict[str, argparse.ArgumentParser] = {}

    @property
    def names(self) -> Collection[str]:
        """The subcommands."""
        return self._parsers.keys()

    def of(self, name: str | None) -> argparse.ArgumentParser:
        """Return the parser of a subcommand; the whole one without any."""
        return self.whole if name is None else self._parsers[name]

    def add(self, name: str, summary: str, carry_out: CarryOut) -> argparse.ArgumentParser:
        """Add a subcommand; return its parser."""
        # Abbreviations are off: the keeper reads the same command line, and knows whole names only.
        made = self._commands.add_parser(
            name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", allow_abbrev=False
        )
        made.set_defaults(carry_out=carry_out)
        self._parsers[name] = made
        return made


def _make_parser() -> _Parser:
    """Return a parser with the core's own commands."""
    parser = _Parser()
    make = parser.add

    run = make("run", "run the daemon of this machine", commands.run)
    run.add_argument(
        "--config", metavar="FILE", help="configuration file; default: KUBEVIP_CONFIG, else /etc/kubevip/config.yaml"
    )
    _add_configuration(run)
    _add_place(run)
    run.add_argument("--log-level", metavar="LEVEL", help=", ".join(LOG_LEVELS))
    run.add_argument("--log-format", metavar="FORMAT", help=" or ".join(LOG_FORMATS))
    run.add_argument("--trace-plugins", action="store_true", help="log what each plugin registers")

    check = make("check", "print every problem of a configuration file", commands.check)
    plan = make("plan", "print what this machine would do with a configuration file; touches nothing", commands.plan)
    for command in (check, plan):
        command.add_argument("config", nargs="?", metavar="FILE", help="default: as for run")
        _add_configuration(command)
        _add_place(command)

    plugins = make("plugins", "list what the installed plugins provide", commands.plugins)
    plugins.add_argument("--check", action="store_true", help="exit with 78 if one of them is broken")
    plugins.add_argument("--plugins", metavar="NAMES", help="only these, separated by commas")

    sample = make("sample", "print a sample", commands.sample)
    sample.add_argument("what", choices=("config",), help="config: a configuration file to begin with")
    sample.add_argument("--native", action="store_true", help="in the native format instead of kube-vip's own")

    status = make("status", "show what the daemon of this machine and its peers are doing", commands.status)
    status.add_argument("--json", action="store_true", help="as one JSON object")
    asked = status.add_mutually_exclusive_group()
    asked.add_argument("--check", action="store_true", help="exit with 1 if something is degraded")
    asked.add_argument("--ready", action="store_true", help="exit with 1 if this node does not take part")

    move = make("move", "let another node hold a group", commands.move)
    move.add_argument("group", metavar="GROUP")
    move.add_argument("to", metavar="NODE")

    drain = make("drain", "make this node hold nothing, as long as others can", commands.drain)
    drain.add_argument("--undo", action="store_true", help="let it take part again")

    reload = make("reload", "let the daemon read its configuration again", commands.reload)
    cleanup = make("cleanup", "remove what an instance left behind that no longer runs", commands.cleanup)
    cleanup.add_argument("--plugins", metavar="NAMES", help="ask only these, separated by commas")
    for command in (status, move, drain, reload, cleanup):
        _add_place(command)

    make("version", "print the version", commands.version)
    return parser


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plugins", metavar="NAMES", help="load only these plugins, separated by commas")
    parser.add_argument("--node", metavar="NAME", help="which of the configured nodes this machine is")
    parser.add_argument("--insecure", action="store_true", help="accept peers without keys")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instance", metavar="NAME", help="which daemon of this machine; default: default")
    parser.add_argument("--state-dir", metavar="DIR", help="default: /var/lib/kubevip, or /var/lib/kubevip-INSTANCE")


def _add_plugin_commands(parser: _Parser) -> None:
    """Add the commands of all installed plugins that are not broken."""
    from kubevip._plugins import PluginRegistry

    for command in PluginRegistry.load().commands().values():
        if command.name in parser.names:
            sys.stderr.write(f"kubevip: a plugin's command {command.name!r} is left out: kubevip has one of its own\n")
            continue
        made = parser.add(command.name, command.summary, commands.of_plugin(command))
        _add_place(made)
        command.configure(made)
