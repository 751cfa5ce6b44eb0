"""What a container uses, as `events` tells it: sums over its processes, from /proc."""

from __future__ import annotations

import json
import os
import time

from containers.oci import lifecycle
from containers.oci.state import ContainerError

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")  # nanoseconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


def events(runtime: lifecycle.Runtime, name: str, interval: float | None) -> int:
    """Print a line of JSON with what a container uses, once or every `interval` seconds until it ends.  `ContainerError`."""
    while True:
        container = runtime.registry.find(name)
        alive = container.status() in ("created", "running", "paused")
        container.close()
        if not alive:
            if interval is not None:
                return 0
            raise ContainerError(f"container with id {name} is not running")
        print(json.dumps({"type": "stats", "id": name, "data": usage(lifecycle.processes(runtime, name))}), flush=True)
        if interval is None:
            return 0
        time.sleep(interval)


def usage(pids: list[int]) -> dict:
    """CPU time in nanoseconds, memory in bytes, and the number of tasks, as runc's `events` calls them."""
    user = system = memory = tasks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # proc_pid_stat(5): utime, stime, and those of children that have been waited for; num_threads; rss
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        tasks += int(fields[17])
        memory += int(fields[21]) * _PAGE
    return {
        "cpu": {"usage": {"total": (user + system) * _TICK, "user": user * _TICK, "kernel": system * _TICK}},
        "memory": {"usage": {"usage": memory}},
        "pids": {"current": tasks},
    }
