"""What `kubevip check` prints: every problem as "file:line: path: problem", and a word on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip._model import Severity
from kubevip._plan_text import summary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip._model import Problem
    from kubevip._survey import Survey


def render_check(survey: Survey) -> str:
    """Return the whole text, without a line feed at its end."""
    lines = render_problems(survey.problems)
    if survey.errors:
        lines.append(_refused(len(survey.errors)))
    else:
        stranger = "" if survey.is_here else f" This machine is none of the members; checked as {survey.node}."
        lines.append(f"ok: {summary(survey)}{stranger}")
    return "\n".join(lines)


def render_refusal(problems: Iterable[Problem]) -> str:
    """Return the text for a configuration that is refused whole."""
    lines = render_problems(problems)
    return "\n".join([*lines, _refused(len(lines))])


def render_problems(problems: Iterable[Problem]) -> list[str]:
    """Return a line per problem; warnings are marked."""
    return [
        f"{problem.place}: warning: {problem.message}" if problem.severity is Severity.WARNING else str(problem)
        for problem in problems
    ]


def _refused(number: int) -> str:
    return f"refused: {number} problem{'' if number == 1 else 's'}"
