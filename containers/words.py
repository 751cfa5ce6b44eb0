"""Which containers a command is about, where a word is both an OCI runtime's and an everyday one.

An OCI runtime's options before the command say so (`runner`); else it is the container that decides: one of the
runtime's state directory is its own.
"""

from __future__ import annotations

_TAKES = {  # options with a value, of all kinds of command
    "exec": (
        "-e", "--env", "--env-file", "-u", "--user", "-w", "--workdir", "--cwd", "-p", "--process", "-g", "--additional-gids",
        "-c", "--cap", "--process-label", "--apparmor", "--cgroup", "--console-socket", "--pid-file", "--preserve-fds",
        "--detach-keys",
    ),
    "kill": ("-s", "--signal"),
    "ps": ("-f", "--filter", "--format", "-n", "--last"),
    "start": ("--detach-keys",),
    "commit": ("-c", "--change", "-m", "--message", "-a", "--author", "--lower"),
    "export": ("-o", "--output"),
}  # fmt: skip


_IMAGES = {"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi"}
_SAME = ("pull", "tag", "save", "load", "history", "import")
_CONTAINERS = {"ls": "ps", "list": "ps", "remove": "rm"}


def without_group(words: list[str]) -> list[str]:
    """The words of `image ...`, `container ...` and `system ...` as those of the command that is meant; None if there is none."""
    group, command, *rest = words
    if command == "prune" or (command == "exists" and group != "system"):
        return [command, group, *rest]
    if command == "inspect" and group != "system":
        return ["inspect", "--type", group, *rest]
    match group:
        case "image" if command in _IMAGES or command in _SAME:
            return [_IMAGES.get(command, command), *rest]
        case "container":
            return [_CONTAINERS.get(command, command), *rest]
    return words


def name_bundle_container(command: str, words: list[str]) -> bool:
    """Whether words that follow a command name a container that `create`, or `run` with a bundle, has made."""
    name = _first(words, _TAKES.get(command, ()))
    if name is None:
        return False
    from containers.oci.state import ContainerError, Registry, default_root

    try:
        Registry(default_root()).find(name).close()
    except ContainerError:
        return False
    return True


def name_kept_container(command: str, words: list[str]) -> bool:
    """Whether words that follow a command name a container that `run -d` or `run --name` has made."""
    name = _first(words, _TAKES.get(command, ()))
    if name is None:
        return False
    from containers.engine.record import Store
    from containers.status import CannotRun

    try:
        return Store().lookup(name) is not None
    except CannotRun:
        return True  # several


def _first(words: list[str], takes: tuple[str, ...]) -> str | None:
    """The first word that is neither an option nor an option's value."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            return next(rest, None)
        if not word.startswith("-") or word == "-":
            return word
        if word.startswith("--"):
            if word in takes:
                next(rest, None)
            continue
        letters = [f"-{letter}" for letter in word[1:]]
        taking = next((index for index, letter in enumerate(letters) if letter in takes), None)
        if taking == len(letters) - 1:
            next(rest, None)
    return None
