"""What keeper and control process say to each other, over two pipes, one JSON line each.

control process -> keeper
    {"ready": true}             joined, though not leading yet
    {"status": "text"}          one line for the service manager
    {"will": {"order": 10, "function": "package.module:function", "payload": "BASE64" or null}}
keeper -> control process
    {"stop": true}              withdraw, release, exit with status 0
    {"reload": true}            read the configuration again
    {"dump": "status"}          or "tasks": to the log

Either side ignores what it does not know. The end of the stream means that the other side is gone.

A third pipe, of which the control process has both ends, holds a byte while something that it said could not leave it
because the pipe to the keeper is full. What died like that may have meant to leave a will that nobody knows.

Of a pair of stream sockets the control process has both ends, and the keeper one, which it closes when it has carried
out the wills and never reads: descriptors on their way to it are not released when the control process dies.
"""

from __future__ import annotations

import binascii

KEEPER_VARIABLE = "KUBEVIP_KEEPER"
"""Environment variable of the control process: the descriptors to read from and to write to, and both ends of the pipe
that says that something waits: "5,6,7,8"."""
KEPT_VARIABLE = "KUBEVIP_KEPT"
"""Both ends of the pair of sockets, the sending one first: "9,10"."""
LOCK_VARIABLE = "KUBEVIP_LOCK"
"""The descriptor that holds the lock of the state directory; open as long as the control process lives."""
INCARNATION_VARIABLE = "KUBEVIP_INCARNATION"
"""The number of this start of the control process; never repeats for one state directory."""

LINE_LIMIT = 1 << 20  # bytes; a will of a thousand addresses takes some 64 KiB
PAYLOAD_LIMIT = 1 << 19  # bytes of one will, before base64
STATUS_LIMIT = 512  # characters

OWES = b"!"  # what the third pipe holds

STOP: dict[str, object] = {"stop": True}
RELOAD: dict[str, object] = {"reload": True}
DUMP_STATUS: dict[str, object] = {"dump": "status"}
DUMP_TASKS: dict[str, object] = {"dump": "tasks"}
READY: dict[str, object] = {"ready": True}


def status_message(text: str) -> dict[str, object]:
    """Return the message that shows `text` to the service manager: one line, cut to its limit."""
    return {"status": " ".join(text.split())[:STATUS_LIMIT]}


def will_message(order: int, function: str, payload: bytes | None) -> dict[str, object]:
    """Return the message that leaves a will, or withdraws it (payload None).

    :raises ValueError: when `function` is not "package.module:function" or the payload exceeds its limit.
    """
    module, colon, name = function.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"a will names its function as 'package.module:function', not {function!r}")
    if payload is not None and len(payload) > PAYLOAD_LIMIT:
        raise ValueError(f"the will {function} leaves {len(payload)} bytes, more than {PAYLOAD_LIMIT}")
    text = None if payload is None else binascii.b2a_base64(payload, newline=False).decode("ascii")
    return {"will": {"order": order, "function": function, "payload": text}}


def read_will(fields: dict[str, object]) -> tuple[int, str, bytes | None]:
    """Return order, function and payload of a will as it arrived.

    :raises ValueError: naming what is wrong with it.
    """
    order, function, text = fields.get("order"), fields.get("function"), fields.get("payload")
    if not isinstance(order, int) or isinstance(order, bool) or not isinstance(function, str):
        raise ValueError("a will without an order or a function")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the will {function} has a payload that is no text")
    payload = None if text is None else binascii.a2b_base64(text, strict_mode=True)
    will_message(order, function, payload)  # the same limits on both sides
    return order, function, payload
