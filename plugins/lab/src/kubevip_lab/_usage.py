"""What a process uses: processor time, memory, context switches, writes to a disk. From /proc."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

_NANOSECONDS = 1e9


@frozen(kw_only=True)
class Usage:
    """What all threads of a process have used since they began, and the memory that it has now.

    `switches` are context switches, voluntary or not. `written_bytes` were given to file systems that a disk is behind.
    Of memory, `resident_bytes` are all pages that it sees, `proportional_bytes` a page that n processes share by 1/n,
    `private_bytes` only what no other shares.
    """

    cpu_seconds: float
    switches: int
    written_bytes: int
    resident_bytes: int
    proportional_bytes: int
    private_bytes: int


def usage(pid: int) -> Usage:
    """Read what a process has used.

    :raises OSError: when it has ended.
    """
    process = Path("/proc", str(pid))
    memory = _fields((process / "smaps_rollup").read_text())
    threads = list((process / "task").iterdir())
    return Usage(
        # The clock ticks of /proc/PID/stat are far coarser.
        cpu_seconds=sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / _NANOSECONDS,
        switches=sum(_switches(thread) for thread in threads),
        written_bytes=_fields((process / "io").read_text())["write_bytes"],
        resident_bytes=memory["Rss"] * 1024,
        proportional_bytes=memory["Pss"] * 1024,
        private_bytes=(memory["Private_Clean"] + memory["Private_Dirty"]) * 1024,
    )


def _switches(thread: Path) -> int:
    fields = _fields((thread / "status").read_text())
    return fields["voluntary_ctxt_switches"] + fields["nonvoluntary_ctxt_switches"]


def _fields(text: str) -> dict[str, int]:
    """Return the fields `name: number [unit]` of a file of /proc."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found
