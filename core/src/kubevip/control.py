"""Client of the control socket of a running daemon."""

from __future__ import annotations


class Client:
    """Speaks to a running daemon."""
