"""A process in real time: what it is, what its children are, and that it never keeps the processors for long."""

from __future__ import annotations

import subprocess
import sys

import pytest

TELL = """
import os, sys
policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
print(policy == os.SCHED_FIFO, os.getpriority(os.PRIO_PROCESS, 0))
"""

#: What each body below begins with; `threads()` says of every thread whether it is in real time.
BEGIN = f"""
import logging, os, signal, subprocess, sys, threading
import anyio
from kubevip import _urgency
from kubevip._urgency import Urgency

TELL = {TELL!r}


def is_real_time(thread):
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


def threads():
    return [is_real_time(int(name)) for name in os.listdir("/proc/self/task")]


async def wait(test):
    with anyio.fail_after(20):
        while not test():
            await anyio.sleep(0.01)

"""


WITHOUT_RIGHT = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-all")


def may_be_real_time() -> bool:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


needs_permission = pytest.mark.skipif(not may_be_real_time(), reason="real-time scheduling is not permitted here")


def run(body: str, *before: str) -> str:
    """Run a body in a process of its own, whose scheduling can be changed; return what it printed."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    code = f"{BEGIN}\nasync def main():\n{lines}\n\nanyio.run(main)\n"
    done = subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_permission
def test_all_threads_are_in_real_time_while_it_is_held_also_later_ones() -> None:
    said = run("""
urgency, over = Urgency(), threading.Event()
threading.Thread(target=over.wait).start()
async with urgency.held(1) as is_real_time_now:
    print(is_real_time_now, threads(), os.sched_getparam(0).sched_priority)
    threading.Thread(target=over.wait).start()
    await wait(lambda: threads() == [True] * 3)
print(threads())
over.set()
""")
    assert said == "True [True, True] 1\n[False, False, False]\n"


@needs_permission
def test_what_it_starts_is_ordinary() -> None:
    said = run("""
async with Urgency().held(1):
    subprocess.run([sys.executable, "-c", TELL], check=True)
    await anyio.run_process([sys.executable, "-c", TELL], stdout=None)
    if os.fork() == 0:
        exec(TELL)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
""")
    assert said == "False 0\n" * 3


@needs_permission
def test_whoever_is_long_at_work_is_ordinary_until_the_next_look() -> None:
    said = run("""
async with Urgency().held(1):
    while any(threads()):  # without a pause; the kernel counts it
        pass
    print("ordinary")
    await wait(lambda: all(threads()))
    while any(threads()):  # and once more: the limit is what it was
        pass
    print("ordinary")
""")
    assert said == "ordinary\nordinary\n"


@needs_permission
def test_after_the_end_it_is_ordinary_for_good() -> None:
    said = run("""
_urgency.LOOK_SECONDS = 0.01
urgency = Urgency()
async with urgency.held(1):
    urgency.end()
    await anyio.sleep(0.05)
    print(threads())
async with urgency.held(1) as is_real_time_now:
    print(is_real_time_now, threads())
""")
    assert said == "[False]\nFalse [False]\n"


@needs_permission
def test_what_somebody_else_has_put_in_real_time_stays_so() -> None:
    said = run("""
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
async with Urgency().held(1) as is_real_time_now:
    print(is_real_time_now)
print(os.sched_getscheduler(0) == os.SCHED_RR)
""")
    assert said == "True\nTrue\n"


@needs_permission
def test_where_real_time_is_refused_it_is_favoured() -> None:
    said = run("""
set_scheduler = os.sched_setscheduler


def without_real_time(thread, policy, parameter):  # as in a control group without a share of it
    if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
        raise PermissionError
    set_scheduler(thread, policy, parameter)


os.sched_setscheduler = without_real_time
async with Urgency().held(1) as is_real_time_now:
    print(is_real_time_now, *threads(), os.getpriority(os.PRIO_PROCESS, 0), flush=True)
    subprocess.run([sys.executable, "-c", TELL], check=True)
print(os.getpriority(os.PRIO_PROCESS, 0))
""")
    assert said == "False False -10\nFalse 0\n0\n"


@needs_permission
def test_where_everything_is_refused_it_goes_on() -> None:
    body = """
async with Urgency().held(1) as is_real_time_now:
    print(is_real_time_now, *threads(), os.getpriority(os.PRIO_PROCESS, 0))
"""
    assert run(body, "prlimit", "--nice=0:0", "--rtprio=0:0", *WITHOUT_RIGHT) == "False False 0\n"


@needs_permission
def test_a_limit_is_enough_without_the_capability() -> None:
    """What `LimitRTPRIO=1` in the unit gives."""
    limit = ["prlimit", "--rtprio=1:1"]
    if subprocess.run([*limit, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("raising a limit is not permitted here")
    body = "async with Urgency().held(1) as is_real_time_now:\n    print(is_real_time_now, *threads())"
    assert run(body, *limit, *WITHOUT_RIGHT) == "True True\n"
