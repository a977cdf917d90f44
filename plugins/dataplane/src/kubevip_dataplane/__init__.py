"""Worker processes and backend choice shared by kubevip's proxies.

A proxy's data path runs in worker processes, so that no load on it can delay the control process. Two faces:

* `kubevip_dataplane.pool`, for the control process: `open_pool` starts workers, `serve` keeps a listener in them.
* `kubevip_dataplane.worker`, for the worker process: `run` is its main function; the epoll loop, the choice of a
  backend and its passive health. It imports the standard library only, so that a worker is small and starts at once.

The control process opens the listening sockets and hands them over (SCM_RIGHTS): errors are known at once, clients
wait in the socket's queue while a crashed worker is replaced, and what a worker may do needs no privilege.
"""
