"""What users write."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from kubevip import Duration


@frozen(kw_only=True)
class ExampleConfig:
    """An instance of the announcer "example"."""

    program: Path
    """Called with `up ADDRESS` and `down ADDRESS`; has to be executable, and to do no harm when it is called twice or
    was killed half-way."""
    timeout: Duration = field(default=Duration(0.8))
    """How long one call may take before it is killed. The next node waits that long for a `down` that hangs."""
    repeat: Duration = field(default=Duration(10.0))
    """How often `up` is called again while the address is held, in case somebody undid it."""

    def __attrs_post_init__(self) -> None:
        if not 0.05 <= self.timeout <= 1:
            raise ValueError(f"timeout: {self.timeout:g} s is not between 50 ms and 1 s")
        if self.repeat < 0.1:
            raise ValueError(f"repeat: {self.repeat:g} s is less than 100 ms")
