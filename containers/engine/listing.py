"""What people and programs look at of containers: `ps`, `top`, `stats`, `inspect`."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from containers.engine.client import ask
from containers.engine.record import Record
from containers.status import CannotRun

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_COMMAND = 20  # characters of a command in a list
_UNITS = (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60))  # in seconds


def table(titles: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[str] = ()):
    """A table of text as rich has it, without lines."""
    from rich.table import Table
    from rich.text import Text

    from containers.show import printable_text

    result = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in titles:
        result.add_column(title, justify="right" if title in right else "left", no_wrap=True)
    for row in rows:
        result.add_row(*(Text(printable_text(cell)) for cell in row))
    return result


def show(what) -> None:
    """Print a table as wide as it is: a terminal that is narrower breaks the lines, and nothing is cut short."""
    from rich.console import Console

    Console(width=1 << 12).print(what)


def duration(seconds: float) -> str:
    """How long something took, as people say it."""
    for unit, length in _UNITS:
        if seconds >= 2 * length or (unit in ("hour", "minute") and seconds >= length):
            count = int(seconds // length)
            if count == 1:
                return f"about {'an' if unit == 'hour' else 'a'} {unit}"
            return f"{count} {unit}s"
    count = max(0, int(seconds))
    return "less than a second" if count == 0 else f"{count} second{'' if count == 1 else 's'}"


def ago(moment: str) -> float:
    """How many seconds ago a time of a record was."""
    when = datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return time.time() - when.timestamp() - float("0" + moment[19:-1])


def summary(record: Record, status: str) -> str:
    """The status in words, as in ``Up 3 minutes``."""
    data = record.data
    match status:
        case "running":
            return f"Up {duration(ago(data['started']))}"
        case "paused":
            return f"Up {duration(ago(data['started']))} (Paused)"
        case "restarting":
            return f"Restarting ({data['exit_code']}) {duration(ago(data['finished']))} ago"
        case "exited" if data["finished"]:
            return f"Exited ({data['exit_code']}) {duration(ago(data['finished']))} ago"
    return "Created"


def ports(record: Record) -> str:
    return ", ".join(f"{host}->{guest}" for guest, host in record.data["ports"].items())


# -- ps ---------------------------------------------------------------------------------------------


def ps(records: list[Record], quiet: bool, whole: bool, form: str) -> None:
    """List containers: a table, a line of JSON for each, or ids alone; `whole` cuts nothing short."""
    if quiet:
        for record in records:
            print(record.id if whole else record.short)
        return
    rows = [_row(record, whole) for record in records]
    if form == "json":
        for row in rows:
            print(json.dumps(row))
    elif form == "table":
        titles = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
        keys = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
        show(table(titles, ([row[key] for key in keys] for row in rows)))
    else:
        print_rows(form, rows)


def print_rows(form: str, rows: list[dict], of: str = "CONTAINER") -> None:
    """Rows by a template; with ``table `` before it, in columns with their titles."""
    from containers.engine.template import fill, titles

    kind, _, template = form.partition(" ")
    if kind != "table":
        for row in rows:
            print(fill(form, row))
        return
    lines = [text.split("\t") for text in (titles(template.lstrip(), of), *(fill(template.lstrip(), row) for row in rows))]
    widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(max(map(len, lines)))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip())


def _row(record: Record, whole: bool) -> dict[str, str]:
    data, status = record.data, record.status()
    command = shlex.join(data["command"])
    if not whole and len(command) > _COMMAND:
        command = command[: _COMMAND - 1] + "…"
    return {
        "ID": record.id if whole else record.short, "Image": data["image"], "Command": f'"{command}"',
        "CreatedAt": data["created"], "RunningFor": f"{duration(ago(data['created']))} ago", "State": status,
        "Status": summary(record, status), "Ports": ports(record), "Names": record.name,
        "Labels": ",".join(f"{key}={value}" for key, value in data["labels"].items()), "Networks": data["network"],
        "Mounts": ",".join(mount["Destination"] for mount in data["mounts"]),
    }  # fmt: skip


# -- top --------------------------------------------------------------------------------------------


def top(record: Record) -> None:
    """List a container's processes, by its own numbers."""
    rows = []
    boot = _boot_time()
    processes = ask(record, {"do": "processes"})["processes"]
    inner = {process["host"]: process["pid"] for process in processes}
    for process in processes:
        try:
            fields = _stat(process["host"])
            with open(f"/proc/{process['host']}/cmdline", "rb") as file:
                words = file.read().rstrip(b"\0").split(b"\0")
        except OSError:
            continue  # it has ended
        name, rest = fields
        began = time.localtime(boot + int(rest[19]) / _TICK)
        spent = (int(rest[11]) + int(rest[12])) // _TICK
        command = " ".join(os.fsdecode(word) for word in words) if words != [b""] else f"[{name}]"
        rows.append((
            str(process["uid"]), str(process["pid"]), str(inner.get(int(rest[1]), 0)), rest[0],
            time.strftime("%H:%M" if time.time() - time.mktime(began) < 86400 else "%b%d", began),
            f"{spent // 3600:02}:{spent // 60 % 60:02}:{spent % 60:02}", command,
        ))  # fmt: skip
    show(table(("UID", "PID", "PPID", "S", "STIME", "TIME", "CMD"), rows, ("UID", "PID", "PPID")))


def _stat(pid: int) -> tuple[str, list[str]]:
    """A process's name, and the fields of proc_pid_stat(5) after it.  `OSError`."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    end = text.rindex(b")")
    return os.fsdecode(text[text.index(b"(") + 1 : end]), text[end + 2 :].decode().split()


def _boot_time() -> float:
    with open("/proc/stat", "rb") as file:
        return float(next(line.split()[1] for line in file if line.startswith(b"btime")))


# -- stats ------------------------------------------------------------------------------------------


class Usage:
    """What containers use, from one look at them to the next; of each, its monitor's own work is part."""

    def __init__(self, whole: bool = False) -> None:
        self._whole = whole
        self._before: dict[str, tuple[float, float]] = {}  # when, and how many seconds of a processor it had had

    def rows(self, records: list[Record]) -> list[dict[str, str]]:
        return [row for record in records if (row := self._row(record)) is not None]

    def _row(self, record: Record) -> dict[str, str] | None:
        try:
            record.container.read()
            processes = ask(record, {"do": "processes"})["processes"]
        except Exception:  # it has ended, or is gone
            return None
        spent, memory, tasks, read, written = 0.0, 0, 0, 0, 0
        for pid in [record.data["pid"], *(process["host"] for process in processes)]:
            try:
                _, fields = _stat(pid)
            except OSError:
                continue
            own = pid == record.data["pid"]
            # utime and stime, and those of children that have been waited for, which for a monitor are the guests again
            spent += sum(int(field) for field in fields[11 : 13 if own else 15]) / _TICK
            memory += int(fields[21]) * _PAGE if not own else 0
            tasks += int(fields[17]) if not own else 0
            counted = _io(pid)
            read, written = read + counted[0], written + counted[1]
        from containers.show import human

        now = time.monotonic()
        before = self._before.get(record.id)
        self._before[record.id] = (now, spent)
        share = max(0.0, (spent - before[1]) / (now - before[0]) * 100) if before is not None and now > before[0] else 0.0
        total = record.data.get("host", {}).get("Memory") or _memory()
        return {
            "ID": record.id if self._whole else record.short, "Name": record.name, "CPUPerc": f"{share:.2f}%",
            "MemUsage": f"{human(memory)} / {human(total)}",
            "MemPerc": f"{memory / total * 100:.2f}%", "BlockIO": f"{human(read)} / {human(written)}", "PIDs": str(tasks),
        }  # fmt: skip


def _io(pid: int) -> tuple[int, int]:
    """Bytes that a process has had read from disks and written to them; 0 where that is not ours to know."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            found = dict(line.split(b": ") for line in file.read().splitlines())
        return int(found[b"read_bytes"]), int(found[b"write_bytes"])
    except (OSError, KeyError, ValueError):
        return 0, 0


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def stats_table(rows: list[dict[str, str]]):
    titles = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I/O", "PIDS")
    keys = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "BlockIO", "PIDs")
    return table(titles, ([row[key] for key in keys] for row in rows), ("CPU %", "MEM %", "PIDS"))


# -- inspect ----------------------------------------------------------------------------------------


def inspected(record: Record) -> dict:
    """A container as docker's and podman's `inspect` show it, as far as there is such a thing here."""
    data, status = record.data, record.status()
    return {
        "Id": record.id,
        "Created": data["created"],
        "Path": data["command"][0],
        "Args": data["command"][1:],
        "State": {
            "Status": status,
            "Running": status in ("running", "paused"),
            "Paused": status == "paused",
            "Restarting": status == "restarting",
            "OOMKilled": data.get("out_of_memory", False),
            "Pid": data["pid"] if record.is_live() else 0,
            "ExitCode": data["exit_code"],
            "Error": data["error"],
            "StartedAt": data["started"],
            "FinishedAt": data["finished"],
        },
        "Image": data["image_id"],
        "ImageName": data["image"],
        "Name": record.name,
        "RestartCount": data["restarts"],
        "LogPath": os.path.realpath(record.log),
        "Root": data["root"],
        "Upper": data["upper"],
        "Mounts": data["mounts"],
        "Config": {
            "Hostname": data["hostname"],
            "User": data["user"],
            "Tty": data["tty"],
            "OpenStdin": data["open_stdin"],
            "StdinOnce": data["stdin_once"],
            "Env": [f"{name}={value}" for name, value in data["env"].items()],
            "Cmd": data["command"],
            "WorkingDir": data["workdir"],
            "Labels": data["labels"],
            "StopSignal": data["stop_signal"],
            "StopTimeout": data["stop_timeout"],
        },
        "HostConfig": {
            "AutoRemove": data["auto_remove"],
            "NetworkMode": data["network"],
            "PortBindings": {f"{guest}/tcp": [{"HostPort": str(host)}] for guest, host in data["ports"].items()},
            "ReadonlyRootfs": data["read_only"],
            "PidsLimit": data["pids_limit"],
            **data.get("host", {}),
            "RestartPolicy": {"Name": data["restart"]["name"], "MaximumRetryCount": data["restart"]["most"]},
        },
        "CreateCommand": ["int80", "run", *data["words"]],
    }


def check_format(form: str) -> str:
    """``table``, ``json`` or a template.  `CannotRun`."""
    if form not in ("table", "json") and "{{" not in form:
        raise CannotRun(f"--format {form}: give table, json, or a template as in '{{{{.Names}}}}'")
    return form
