# SPDX-License-Identifier: GPL-2.0-only
"""What build_busybox does before it needs a network: the list of mirrors, the change of the gate, the cache."""

from __future__ import annotations

import threading

import build_busybox
import pytest


def test_both_forms_of_apt_sources_are_made_to_name_their_sources(tmp_path):
    etc, out = tmp_path / "etc", tmp_path / "out"
    (etc / "sources.list.d").mkdir(parents=True)
    out.mkdir()
    (etc / "sources.list").write_text(
        "# deb http://off.example x main\ndeb cdrom:[disc]/ x main\n"
        "deb [signed-by=/k] http://one.example x main\ndeb-src http://one.example x main\n"
    )
    (etc / "sources.list.d/two.sources").write_text("Types: deb\nURIs: http://two.example\nSuites: x\n")
    (etc / "sources.list.d/three.list.disabled").write_text("deb http://three.example x main\n")
    build_busybox._write_sources(out, etc)
    assert (out / "sources.list").read_text() == (
        "deb [signed-by=/k] http://one.example x main\ndeb-src [signed-by=/k] http://one.example x main\n"
    )
    assert (out / "two.sources").read_text() == "Types: deb deb-src\nURIs: http://two.example\nSuites: x\n"
    assert not list(out.glob("three*"))


def test_the_gate_is_changed_where_it_is_an_instruction_and_nowhere_else(tmp_path):
    header = tmp_path / "arch/x86_64/syscall_arch.h"
    asm = tmp_path / "src/process/x86_64/vfork.s"
    for path in (header, asm):
        path.parent.mkdir(parents=True)
    header.write_text('static long __syscall0(long n)\n{ __asm__ ("syscall" : "=a"(ret)); }\n')
    asm.write_text("\tmov $58,%eax\n\tsyscall\t/* a syscall */\n\tjmp __syscall_ret\n")
    build_busybox._change_gate(tmp_path)
    assert header.read_text() == 'static long __syscall0(long n)\n{ __asm__ ("int $0x80" : "=a"(ret)); }\n'
    assert asm.read_text() == "\tmov $58,%eax\n\tint $0x80\t/* a syscall */\n\tjmp __syscall_ret\n"


def test_an_entry_of_the_cache_is_made_once_however_many_ask(tmp_path):
    made = []

    def make(out):
        made.append(out)
        (out / "file").write_text("whole")

    threads = [threading.Thread(target=build_busybox._entry, args=(tmp_path, "thing", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (build_busybox._entry(tmp_path, "thing", make) / "file").read_text() == "whole"


def test_an_entry_that_failed_is_not_there(tmp_path):
    def make(out):
        (out / "half").write_text("")
        raise build_busybox.Unavailable("no network")

    with pytest.raises(build_busybox.Unavailable):
        build_busybox._entry(tmp_path, "thing", make)
    place = build_busybox._place(tmp_path, "thing")
    assert not place.exists()
    assert [p.name for p in place.parent.iterdir()] == [".thing.lock"]
