"""The words of the commands about images."""

from __future__ import annotations

import json
import os
import sys

from containers.images import pull
from containers.images.documents import Platform, parse_platform
from containers.images.errors import ImageError, interrupted, of_system
from containers.images.progress import shown
from containers.images.reference import Reference, familiar
from containers.images.store import Image, Store
from containers.images.unpack import Limits
from containers.status import silence_unread

_FAILURE = 125
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def run(command: str, arguments: list[str], parser_type) -> int:
    """One of the commands; its exit status.  `ImageError`."""
    try:
        match command:
            case "pull":
                return _pull(parser_type("int80 pull", description=_PULL, allow_abbrev=False), arguments)
            case "images":
                return _images(
                    parser_type("int80 images", description="List the images of the store.", allow_abbrev=False), arguments
                )
            case "rmi":
                return _rmi(parser_type("int80 rmi", description=_RMI, allow_abbrev=False), arguments)
            case "tag" | "save" | "load" | "history" | "login" | "logout":
                about, action = _MORE[command]
                return action(parser_type(f"int80 {command}", description=about, allow_abbrev=False), arguments)
            case "import":
                return _import(parser_type("int80 import", description=_IMPORT, allow_abbrev=False), arguments)
            case "export":
                return _export(parser_type("int80 export", description=_EXPORT, allow_abbrev=False), arguments)
            case _:
                return _commit(parser_type("int80 commit", description=_COMMIT, allow_abbrev=False), arguments)
    except KeyboardInterrupt:
        interrupted(command == "pull")
    except OSError as problem:
        if isinstance(problem, BrokenPipeError) and silence_unread():
            return _FAILURE
        raise of_system(problem.filename or command, problem) from None


_PULL = (
    "Fetch images into the store: NAME[:TAG] of a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]. "
    "What is there already is not fetched again, nor what an earlier pull has left unfinished."
)
_RMI = "Take names from images; what no image uses any more is removed. An id takes all names of its image."
_IMPORT = "Make an image of a root tarball, compressed with gzip, zstd, xz, bzip2, or not."
_EXPORT = (
    "Write an image to oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME], or its root as a tarball to FILE or "
    "to - ; of an --upper directory or a container, the root that it saw."
)
_COMMIT = (
    "Make an image of what a sandbox has kept in its --upper directory, over the image or the directories below it; or "
    "of a container (docs/containers.md)."
)


def _add_limits(parser) -> None:
    parser.add_argument("--max-size", metavar="N", help="bytes that a layer may unpack to (default: 64g)")
    parser.add_argument("--max-ratio", metavar="N", help="how many times its compressed size that may be (default: 300)")


def _limits(parser, options) -> Limits:
    limits = Limits()
    if options.max_size is not None:
        number, unit = options.max_size, ""
        if number[-1:].lower() in _UNITS:
            number, unit = number[:-1], number[-1:].lower()
        if not number.isascii() or not number.isdecimal() or len(number) > 15:
            parser.error(f"--max-size {options.max_size}: give a number of bytes, as in 500m or 20g")
        limits.size = int(number) * _UNITS[unit]
    if options.max_ratio is not None:
        text = options.max_ratio
        if not text.isascii() or not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
            parser.error(f"--max-ratio {text}: give a number, at least 1")
        limits.ratio = int(text)
    return limits


def _pull(parser, arguments: list[str]) -> int:
    parser.add_argument("names", metavar="IMAGE", nargs="+")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an image that is there for several (default: linux/amd64)")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing on the way")
    _add_limits(parser)
    options = parser.parse_args(arguments)
    limits = _limits(parser, options)
    platform: Platform | None = parse_platform(options.platform) if options.platform else None
    store = Store()
    for name in options.names:
        with shown(options.quiet) as progress:
            image = pull.pull(store, name, platform, limits, progress)
        print(f"{image.shown()} {image.descriptor.digest}", flush=True)
    return 0


def _images(parser, arguments: list[str]) -> int:
    from containers.images import kept

    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="those of this name alone; `*` stands for anything")
    add("-a", "--all", action="store_true", help="nothing: there are no images in between")
    add("-q", "--quiet", action="store_true", help="ids only")
    add("--digests", action="store_true", help="with the digests of the manifests")
    add("--no-trunc", action="store_true", help="whole ids")
    add("-f", "--filter", metavar="KEY=VALUE", action="append", default=[], help="dangling, label, reference, before, since")
    add("--format", metavar="FORM", help="table, json, or a template as '{{.Repository}}:{{.Tag}}'")
    add("--json", action="store_true", help="one JSON document")
    options = parser.parse_intermixed_args(arguments)
    store = Store()
    images = kept.chosen(store, store.images(), options.name, options.filter)
    rows = kept.rows(images, options.no_trunc)
    if options.json:
        import msgspec

        print(msgspec.json.encode([_described(image) for image in images]).decode())
    elif options.quiet:
        for row in {row["ID"]: row for row in rows}:
            print(row)
    elif options.format not in (None, "table"):
        from containers.engine.listing import check_format, print_rows

        if check_format(options.format) == "json":
            for row in rows:
                print(json.dumps(row))
        else:
            print_rows(options.format, rows, "IMAGE")
    else:
        titles = {"Name": "NAME", "Digest": "DIGEST", "ID": "ID", "Created": "CREATED", "Size": "SIZE"}
        columns = [column for column in titles if column != "Digest" or options.digests]
        lines = [[row[column] for column in columns] for row in rows]
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text

            table = Table(*(titles[column] for column in columns), box=None, header_style="bold")
            for line in lines:
                table.add_row(*map(Text, line))
            Console().print(table)
        else:
            kept.table([titles[column] for column in columns], lines)
    return 0


def _described(image: Image) -> dict:
    return {
        "names": image.names, "id": image.id, "digest": image.descriptor.digest, "created": image.created, "size": image.size,
        "platform": str(image.config.platform), "layers": image.config.diff_ids,
    }  # fmt: skip


def _rmi(parser, arguments: list[str]) -> int:
    parser.add_argument("-f", "--force", action="store_true", help="what is not there is no failure")
    parser.add_argument("-a", "--all", action="store_true", help="every image")
    parser.add_argument("names", metavar="IMAGE", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    store = Store()
    if options.all is bool(options.names):
        parser.error("give the images to remove, or --all")
    names = [image.descriptor.digest for image in store.images()] if options.all else options.names
    if options.force:
        names = [name for name in names if store.knows(name)]
    return _removed(store, names) if names else 0


def _removed(store: Store, texts: list[str]) -> int:
    names, gone = store.remove(texts)
    for name in names:
        print(f"untagged {familiar(name)}")
    for digest in gone:
        print(f"removed {digest}")
    return 0


def _tag(parser, arguments: list[str]) -> int:
    from containers.images.kept import tag

    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("names", metavar="NAME", nargs="+")
    options = parser.parse_args(arguments)
    tag(Store(), options.image, options.names)
    return 0


def _save(parser, arguments: list[str]) -> int:
    from containers.images.export import export, save

    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+")
    add("-o", "--output", metavar="FILE", default="-", help="where to (default: the standard output)")
    add("--format", choices=("docker-archive", "oci-archive", "oci-dir"), default="docker-archive", help="in what form")
    add("-q", "--quiet", action="store_true", help="say nothing on the way")
    options = parser.parse_intermixed_args(arguments)
    with shown(options.quiet) as progress:
        if options.format == "docker-archive":
            save(Store(), options.images, options.output, progress)
            return 0
        if len(options.images) > 1:
            parser.error(f"--format {options.format}: takes one image")
        if ":" in options.output:
            parser.error(f"--output {options.output}: no colon can be in the name of what holds a layout")
        export(Store(), options.images[0], f"{options.format.replace('-dir', '')}:{options.output}", progress)
    return 0


def _load(parser, arguments: list[str]) -> int:
    from containers.images.kept import load

    parser.add_argument("-i", "--input", metavar="FILE", help="the archive (default: the standard input)")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing on the way")
    _add_limits(parser)
    options = parser.parse_args(arguments)
    limits = _limits(parser, options)
    with shown(options.quiet) as progress:
        images = load(Store(), options.input, limits, progress)
    for image in images:
        print(f"Loaded image: {', '.join(map(familiar, image.names)) or image.id}")
    return 0


def _cut(text: str) -> str:
    return text if len(text) <= 45 else f"{text[:44]}…"


def _history(parser, arguments: list[str]) -> int:
    from containers.engine.listing import check_format, print_rows
    from containers.images import kept

    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing short")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--format", metavar="FORM", default="table", help="table, json, or a template as '{{.CreatedBy}}'")
    options = parser.parse_intermixed_args(arguments)
    rows = kept.history(Store().find(options.image))
    form = check_format(options.format)
    if not options.no_trunc:
        rows = [row | {"CreatedBy": _cut(row["CreatedBy"])} for row in rows]
    if options.quiet:
        print("\n".join(row["ID"] for row in rows))
    elif form == "json":
        print(json.dumps(rows))
    elif form == "table":
        kept.table(["ID", "CREATED", "CREATED BY", "SIZE", "COMMENT"], [list(row.values()) for row in rows])
    else:
        print_rows(form, rows)
    return 0


def _login(parser, arguments: list[str]) -> int:
    from containers.images.auth import keep, words
    from containers.images.registry import check_login

    add = parser.add_argument
    add("registry", metavar="REGISTRY", nargs="?", default="docker.io", help="its host (default: docker.io)")
    add("-u", "--username", metavar="NAME")
    add("-p", "--password", metavar="PASSWORD", help="better typed, or from --password-stdin")
    add("--password-stdin", action="store_true", help="from the standard input")
    add("--authfile", metavar="FILE", help="where logins are kept (default: where podman keeps them)")
    options = parser.parse_intermixed_args(arguments)
    login = words(options.registry, options.username, options.password, options.password_stdin)
    check_login(options.registry, login)
    keep(options.registry, login, options.authfile)
    print("Login Succeeded!")
    return 0


def _logout(parser, arguments: list[str]) -> int:
    from containers.images.auth import forget

    parser.add_argument("registry", metavar="REGISTRY", nargs="?", default="docker.io")
    parser.add_argument("--authfile", metavar="FILE", help="where logins are kept (default: where podman keeps them)")
    options = parser.parse_intermixed_args(arguments)
    forget(options.registry, options.authfile)
    print(f"Removed login credentials for {options.registry}")
    return 0


_MORE = {
    "tag": ("Give an image more names.", _tag),
    "save": ("Write images to a file, as docker and podman do and load.", _save),
    "load": ("Take up the images of a file that `save` of int80, docker or podman wrote.", _load),
    "history": ("Show how an image was made.", _history),
    "login": ("Keep a name and a password for a registry, after asking it.", _login),
    "logout": ("Forget them.", _logout),
}


def _name(text: str | None) -> str | None:
    """The whole name for a new image; one without a host is this machine's.  `ImageError`."""
    if text is None:
        return None
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise ImageError(f"{text}: a digest follows from what an image is; give NAME[:TAG]")
    return reference.name


def _import(parser, arguments: list[str]) -> int:
    from containers.images.commit import changes_of, merged

    parser.add_argument("file", metavar="FILE", help="- is the standard input")
    parser.add_argument("name", metavar="NAME", nargs="?")
    _add_changes(parser)
    _add_limits(parser)
    options = parser.parse_args(arguments)
    limits, changes, name = _limits(parser, options), merged({}, changes_of(options.change)), _name(options.name)
    store = Store()
    try:
        file = sys.stdin.buffer if options.file == "-" else open(options.file, "rb")
    except OSError as problem:
        raise of_system(options.file, problem) from None
    with file, shown() as progress:
        image = pull.import_tarball(store, file, name, changes, options.message, limits, progress)
    print(image.id)
    return 0


def _add_changes(parser) -> None:
    parser.add_argument(
        "-c", "--change", metavar="TEXT", action="append", default=[], help="a line of a Dockerfile: 'CMD [\"sh\"]'"
    )
    parser.add_argument("-m", "--message", metavar="TEXT", help="a comment in its history")


def _export(parser, arguments: list[str]) -> int:
    from containers.images.export import export

    parser.add_argument("image", metavar="IMAGE|DIR")
    parser.add_argument("target", metavar="TARGET", nargs="?", default="-")
    parser.add_argument("-o", "--output", metavar="FILE", help="the same as TARGET")
    options = parser.parse_args(arguments)
    with shown() as progress:
        export(Store(), options.image, options.output or options.target, progress)
    return 0


def _commit(parser, arguments: list[str]) -> int:
    from containers.images.commit import Upper, changes_of, commit

    parser.add_argument("upper", metavar="DIR", help="what `int80 run --upper DIR` has kept")
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument(
        "--lower", metavar="DIR", action="append", default=[], help="a directory below, which becomes a layer too"
    )
    _add_changes(parser)
    parser.add_argument("-a", "--author", metavar="NAME")
    options = parser.parse_args(arguments)
    changes, name = changes_of(options.change), _name(options.name)
    if not os.path.exists(options.upper):
        raise ImageError(f"{options.upper}: there is no such container, nor a directory; `int80 ps -a` lists containers")
    store, upper = Store(), Upper(os.path.abspath(options.upper))
    with shown() as progress:
        image = commit(store, upper, options.lower, name, changes, options.message, options.author, progress)
    print(image.id)
    return 0
