"""A program: the container of a Pod as the kubelet would run it, without an image. It becomes what the Pod runs.

Arguments: the Pod's file, the folder that stands for the node's disk, the node's name. Only what the Pod mounts of that
disk is there, the root is read-only, and of all capabilities there are those that the Pod asks for.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

PR_CAPBSET_DROP, LAST_CAPABILITY = 24, 40
NUMBERS = {"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13}


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def make_disk(pod: Any, container: Any, disk: Path) -> None:
    """Mount what the Pod mounts, at the places that only this process sees."""
    sources = {volume["name"]: volume["hostPath"] for volume in pod["spec"]["volumes"]}
    for parent in ("/etc", "/var/lib"):
        mount("-t", "tmpfs", "tmpfs", parent)
    for each in container["volumeMounts"]:
        given, target = sources[each["name"]], Path(each["mountPath"])
        source = disk / given["path"].lstrip("/")
        if given["type"] == "DirectoryOrCreate":
            source.mkdir(parents=True, exist_ok=True)
        if given["type"] == "File":
            assert source.is_file(), f"the kubelet waits for {given['path']}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        else:
            assert source.is_dir(), f"the kubelet waits for {given['path']}"
            target.mkdir(parents=True, exist_ok=True)
        mount("--bind", str(source), str(target))
        if each.get("readOnly"):
            mount("-o", "remount,bind,ro", str(target))


def environment_of(container: Any, node: str) -> dict[str, str]:
    fields = {"spec.nodeName": node}
    found: dict[str, str] = {}
    for each in container["env"]:
        found[each["name"]] = each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
    return found


def main() -> None:
    file, disk, node = sys.argv[1:]
    pod = yaml.safe_load(Path(file).read_text())
    (container,) = pod["spec"]["containers"]
    environment = environment_of(container, node)
    make_disk(pod, container, Path(disk))
    libc = ctypes.CDLL(None, use_errno=True)
    kept = {NUMBERS[name] for name in container["securityContext"]["capabilities"]["add"]}
    for number in range(LAST_CAPABILITY + 1):
        if number not in kept:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    arguments = [sys.executable, "-P", "-m", "kubevip_keeper", *container["args"]]
    given = {"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONUNBUFFERED": "1"}  # by runtimes and the image
    os.execve(sys.executable, arguments, {**given, **environment})


main()
