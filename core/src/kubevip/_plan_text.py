"""What `kubevip plan` prints, made of a survey and nothing else."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from kubevip._model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kubevip._survey import Survey, Told

WIDTH = 130
_LABEL = 12  # columns of "elections", "firewall", "warning"


def render_plan(survey: Survey) -> str:
    """Return the whole text, without a line feed at its end."""
    lines = [f"{summary(survey)} Nothing was touched."]
    lines += _named("sources", survey.sources)
    lines += _named("elections", survey.elections)
    lines += _groups(survey)
    lines += _labelled("always", survey.always)
    lines += _named("agents", survey.agents)
    if survey.firewall:
        lines += _labelled("firewall", _packed(survey.firewall, WIDTH - _LABEL))
    for problem in survey.problems:
        label = "warning" if problem.severity is Severity.WARNING else "error"
        lines.append(f"{label:<{_LABEL}}{problem}")
    return "\n".join(lines)


def summary(survey: Survey) -> str:
    """Say what there is and for whom: "config.yaml: native, 3 groups, ... Node n2 (ens18 192.168.0.71/24), ..."."""
    found = survey.resolved
    counts = [
        _count(len(found.groups), "group"),
        _count(len(found.vips), "virtual IP"),
        _count(len(found.load_balancers), "load balancer"),
    ]
    what = ", ".join([survey.form, *counts] if survey.form else counts)
    return f"{Path(survey.file).name}: {what}. Node {survey.node}{_own(survey)}, instance {survey.options.instance}."


def _own(survey: Survey) -> str:
    """Say where this node's own address is: " (ens18 192.168.0.71/24)"."""
    member = next((it for it in survey.resolved.members if it.name == survey.node), None)
    if member is None:
        return ""
    for device in survey.machine.interfaces:
        for address in device.addresses:
            if address.ip == member.address:
                return f" ({device.name} {address})"
    return f" ({member.address}, which is not on this machine)"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _named(label: str, told: Sequence[Told]) -> Iterator[str]:
    width = max((len(it.name) for it in told), default=0) + 2
    for it in told:
        for position, line in enumerate(it.lines or ("",)):
            name = it.name if position == 0 else ""
            yield f"{label:<{_LABEL}}{name:<{width}}{line}".rstrip()
            label = ""


def _groups(survey: Survey) -> Iterator[str]:
    width = max((len(group.group) for group in survey.groups), default=0) + len("while leading ") + 3
    for group in survey.groups:
        lines = [*_packed(group.announced, WIDTH - width), *group.served] or ["nothing on this machine"]
        for position, line in enumerate(lines):
            label = f"while leading {group.group}" if position == 0 else ""
            yield f"{label:<{width}}{line}"


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    for position, line in enumerate(lines):
        yield f"{label if position == 0 else '':<{_LABEL}}{line}"


def _packed(parts: Iterable[str], width: int) -> list[str]:
    """Join parts by "; " into lines; a part is broken only where it alone is longer than a line."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f"; {part}"
        else:
            if lines:
                lines[-1] += ";"
            lines += textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False)
    return lines
