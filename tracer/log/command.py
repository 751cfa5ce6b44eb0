"""``int80 trace``: from its options to its exit status."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from abi.decoding.values import Style
from tracer.log.choice import EVERYTHING
from tracer.log.descriptors import describe
from tracer.log.host import HostTracer
from tracer.log.names import tables
from tracer.log.recorder import Recorder
from tracer.log.text import Text, Times


def trace(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("int80 trace")
    parser.add_argument("-o", dest="output")
    parser.add_argument("-f", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("-y", action="count", default=0)
    parser.add_argument("-s", type=int, default=32)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666) if options.output else os.dup(2)
    sink = Text(fd, Times(), who="always" if options.output else "many", live=not options.output)
    recorder = Recorder(EVERYTHING, Style(options.s, options.y, options.v), [sink], tables())
    tracer = HostTracer(recorder, describe)
    path = shutil.which(command[0])
    if path is None:
        sys.stderr.write(f"int80: {command[0]}: not found\n")
        return 127
    tracer.start(os.fsencode(path), [os.fsencode(word) for word in command], dict(os.environb), None)
    status = tracer.run()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
