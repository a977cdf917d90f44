"""The keeper: the parent process of a kubevip daemon, and where the command `kubevip` starts.

It holds the lock of the state directory, starts the control process with an incarnation that never repeats, passes on
signals, reaps, carries out the last wills of a control process that died, and starts the next one. It imports the
standard library alone, and as little of it as it can: it lives as long as the machine and must never be the part that
fails.
"""
