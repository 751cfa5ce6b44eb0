"""Which files and addresses a call is about: data first, so that a call is one line.  For policies, which need them exact.

`files_of` and `addresses_of` read a call's raw arguments; `HostFiles` says what a name of a traced task means on the host.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from abi.decoding.values import AT_FDCWD, View, signed32

READ, WRITE, EXECUTE = "read", "write", "execute"
_NOFOLLOW, _FOLLOW = 0x100, 0x400  # AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW
_LINKS = 40  # symlinks followed in one walk, as in the kernel
_MESSAGES = 1024  # of one sendmmsg: UIO_MAXIOV

# Each name that a call takes: (argument with the directory or None, argument with the path, what for, whether a symlink at
# its end is followed).  A number for the last is the argument with AT_ flags.  What a call only looks at is read.
NAMES: dict[str, tuple[tuple[int | None, int, str, bool | int], ...]] = {
    "access": ((None, 0, READ, True),),
    "faccessat": ((0, 1, READ, True),),
    "faccessat2": ((0, 1, READ, 3),),
    "stat": ((None, 0, READ, True),),
    "lstat": ((None, 0, READ, False),),
    "newfstatat": ((0, 1, READ, 3),),
    "statx": ((0, 1, READ, 2),),
    "statfs": ((None, 0, READ, True),),
    "readlink": ((None, 0, READ, False),),
    "readlinkat": ((0, 1, READ, False),),
    "chroot": ((None, 0, READ, True),),
    "getxattr": ((None, 0, READ, True),),
    "lgetxattr": ((None, 0, READ, False),),
    "listxattr": ((None, 0, READ, True),),
    "llistxattr": ((None, 0, READ, False),),
    "inotify_add_watch": ((None, 1, READ, True),),
    "name_to_handle_at": ((0, 1, READ, True),),
    "uselib": ((None, 0, READ, True),),
    "creat": ((None, 0, WRITE, True),),
    "truncate": ((None, 0, WRITE, True),),
    "mkdir": ((None, 0, WRITE, False),),
    "mkdirat": ((0, 1, WRITE, False),),
    "mknod": ((None, 0, WRITE, False),),
    "mknodat": ((0, 1, WRITE, False),),
    "rmdir": ((None, 0, WRITE, False),),
    "unlink": ((None, 0, WRITE, False),),
    "unlinkat": ((0, 1, WRITE, False),),
    "rename": ((None, 0, WRITE, False), (None, 1, WRITE, False)),
    "renameat": ((0, 1, WRITE, False), (2, 3, WRITE, False)),
    "renameat2": ((0, 1, WRITE, False), (2, 3, WRITE, False)),
    "link": ((None, 0, WRITE, False), (None, 1, WRITE, False)),
    "linkat": ((0, 1, WRITE, 4), (2, 3, WRITE, False)),
    "symlink": ((None, 1, WRITE, False),),
    "symlinkat": ((1, 2, WRITE, False),),
    "chmod": ((None, 0, WRITE, True),),
    "fchmodat": ((0, 1, WRITE, True),),
    "fchmodat2": ((0, 1, WRITE, 3),),
    "chown": ((None, 0, WRITE, True),),
    "lchown": ((None, 0, WRITE, False),),
    "fchownat": ((0, 1, WRITE, 4),),
    "utime": ((None, 0, WRITE, True),),
    "utimes": ((None, 0, WRITE, True),),
    "futimesat": ((0, 1, WRITE, True),),
    "utimensat": ((0, 1, WRITE, 3),),
    "setxattr": ((None, 0, WRITE, True),),
    "lsetxattr": ((None, 0, WRITE, False),),
    "removexattr": ((None, 0, WRITE, True),),
    "lremovexattr": ((None, 0, WRITE, False),),
    "execve": ((None, 0, EXECUTE, True),),
    "execveat": ((0, 1, EXECUTE, 4),),
}
DESCRIPTORS = {"fchmod", "fchown", "fsetxattr", "fremovexattr"}  # they change the file of descriptor 0, however it was opened
OPENS = {"open": (None, 0, 1), "openat": (0, 1, 2), "openat2": (0, 1, None)}
_ADDRESSES = {"connect": (1, 2), "bind": (1, 2), "sendto": (4, 5)}


class HostFiles:
    """Names of a traced task on the host, as its own root and working directory have them."""

    def descriptor(self, tid: int, fd: int) -> bytes | None:
        """The absolute path behind a descriptor, or AT_FDCWD; None where there is none."""
        try:
            path = os.readlink(b"/proc/%d/cwd" % tid if fd == AT_FDCWD else b"/proc/%d/fd/%d" % (tid, fd))
        except OSError:
            return None
        return path if path.startswith(b"/") and not path.endswith(b" (deleted)") else None

    def resolve(self, tid: int, pid: int, path: bytes, follow: bool) -> bytes:
        """The file that an absolute path names, without symlinks; at its end only if `follow`."""
        root = b"/proc/%d/root" % tid
        ahead = path.split(b"/")[::-1]
        done: list[bytes] = []
        links = 0
        while ahead:
            part = ahead.pop()
            if part == b"..":
                del done[-1:]
            elif part not in (b"", b"."):
                done.append(part)
                if done[0] == b"proc" and len(done) > 1:  # self would be us, and links below a process are no names
                    if len(done) == 2 and part in (b"self", b"thread-self"):
                        done[1:] = [b"%d" % pid] if part == b"self" else [b"%d" % pid, b"task", b"%d" % tid]
                elif (ahead or follow) and links < _LINKS:
                    try:
                        target = os.readlink(root + b"/" + b"/".join(done))
                    except OSError:
                        continue
                    links += 1
                    done = [] if target.startswith(b"/") else done[:-1]
                    ahead += target.split(b"/")[::-1]
        return b"/" + b"/".join(done)

    def programs(self, tid: int) -> set[bytes]:
        """What runs in a task that has just called execve: the program, which is a script's interpreter, and its loader."""
        found = set()
        try:
            with open(b"/proc/%d/maps" % tid, "rb") as file:
                for line in file:
                    words = line.rstrip(b"\n").split(maxsplit=5)
                    if len(words) == 6 and words[5].startswith(b"/") and not words[5].endswith(b" (deleted)"):
                        found.add(words[5])
        except OSError:
            pass
        return found


def files_of(name: str, view: View, tid: int, files) -> Iterator[tuple[str, bytes, bool, bool]]:
    """Each file a call names: what for, its absolute path, whether a symlink at its end is followed, whether it is made anew.

    `files` has `descriptor`, as `HostFiles`.  A name that cannot be read is left out, and so is a look at what is open.
    """
    args = view.args
    if name in OPENS:
        directory, where, at = OPENS[name]
        flags = args[at] if at is not None else view.integer(args[2], 8) or 0
        path = _path(view, directory, where, tid, files)
        if path is not None:
            fresh = flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL
            follow = not flags & os.O_NOFOLLOW
            access = flags & os.O_ACCMODE
            if flags & os.O_PATH or access != os.O_WRONLY:
                yield READ, path, follow, fresh
            if not flags & os.O_PATH and (access != os.O_RDONLY or flags & (os.O_CREAT | os.O_TRUNC)):
                yield WRITE, path, follow, fresh
        return
    if name in DESCRIPTORS or name == "chdir":  # its name was relative to where the task is no more
        path = files.descriptor(tid, AT_FDCWD if name == "chdir" else signed32(args[0]))
        if path is not None:
            yield READ if name == "chdir" else WRITE, path, False, False
        return
    for directory, where, use, follow in NAMES.get(name, ()):
        if follow is not True and follow is not False:
            flags = args[follow]
            follow = bool(flags & _FOLLOW) if name == "linkat" else not flags & _NOFOLLOW
        if use == READ and not view.integer(args[where], 1):
            continue
        path = _path(view, directory, where, tid, files)
        if path is not None:
            yield use, path, follow, name in ("mkdir", "mkdirat")


def _path(view: View, directory: int | None, where: int, tid: int, files) -> bytes | None:
    """The absolute path; that of the directory's descriptor itself where the name is empty (AT_EMPTY_PATH) or NULL."""
    fd = AT_FDCWD if directory is None else signed32(view.args[directory])
    name = view.string(view.args[where]) if view.args[where] else b""
    if name is None or name.startswith(b"/"):
        return name
    if not name and directory is None:
        return None
    base = files.descriptor(tid, fd)
    if base is None or not name:
        return base
    return base + b"/" + name


# -- addresses --------------------------------------------------------------------------------------


def addresses_of(name: str, view: View, tid: int, pid: int, files) -> Iterator[tuple[str, str]]:
    """Each address a call is about that is reached or taken: ``connect`` or ``listen``, and the address as text.

    A connection that is still under way counts.  Internet and unix sockets only.
    """
    if view.error and not (name == "connect" and view.error == errno.EINPROGRESS):
        return
    args = view.args
    if name in _ADDRESSES:
        where, length = _ADDRESSES[name]
        found = [(args[where], args[length])]
    elif name == "sendmsg":
        found = [_message(view, args[1])]
    elif name == "sendmmsg":
        found = [_message(view, args[1] + 64 * index) for index in range(min(view.value or 0, _MESSAGES))]
    else:
        return
    for address, length in found:
        data = view.bytes(address, min(length & 0xFFFFFFFF, 128))
        text = address_text(data, lambda path: _socket_path(path, tid, pid, files)) if data else None
        if text is not None:
            yield "listen" if name == "bind" else "connect", text


def _message(view: View, at: int) -> tuple[int, int]:
    """The address that a struct msghdr carries."""
    return view.integer(at, 8) or 0, view.integer(at + 8, 4) or 0


def _socket_path(path: bytes, tid: int, pid: int, files) -> bytes:
    if not path.startswith(b"/"):
        path = (files.descriptor(tid, AT_FDCWD) or b"") + b"/" + path
    return files.resolve(tid, pid, path, True)


def address_text(data: bytes, absolute=lambda path: path) -> str | None:
    """A sockaddr as a policy writes it: ``127.0.0.1:80``, ``[::1]:80``, ``unix:/path``, ``unix:@abstract``; else None.

    `absolute` makes a unix socket's path so.
    """
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET and len(data) >= 8:
        return f"{socket.inet_ntop(socket.AF_INET, data[4:8])}:{port}"
    if family == socket.AF_INET6 and len(data) >= 24:
        host = data[8:24]
        if host.startswith(bytes(10) + b"\xff\xff"):
            return f"{socket.inet_ntop(socket.AF_INET, host[12:])}:{port}"
        return f"[{socket.inet_ntop(socket.AF_INET6, host)}]:{port}"
    if family == socket.AF_UNIX and len(data) > 2:
        if data[2]:
            return "unix:" + os.fsdecode(absolute(data[2:].split(b"\0", 1)[0]))
        return "unix:@" + os.fsdecode(data[3:])
    return None
