"""The words of the commands about images."""

from __future__ import annotations

import os
import sys
import time

from containers.images import pull
from containers.images.documents import Platform, parse_platform
from containers.images.errors import ImageError, interrupted, of_system
from containers.images.progress import shown, size_text
from containers.images.reference import Reference, familiar
from containers.images.store import Image, Store
from containers.images.unpack import Limits

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
            case "import":
                return _import(parser_type("int80 import", description=_IMPORT, allow_abbrev=False), arguments)
            case "export":
                return _export(parser_type("int80 export", description=_EXPORT, allow_abbrev=False), arguments)
            case _:
                return _commit(parser_type("int80 commit", description=_COMMIT, allow_abbrev=False), arguments)
    except KeyboardInterrupt:
        interrupted()
    except OSError as problem:
        raise of_system(problem.filename or command, problem) from None


_PULL = (
    "Fetch images into the store: NAME[:TAG] of a registry, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]. "
    "What is there already is not fetched again, nor what an earlier pull has left unfinished."
)
_RMI = "Take names from images; what no image uses any more is removed. An id takes all names of its image."
_IMPORT = "Make an image of a root tarball, compressed with gzip, zstd, xz, bzip2, or not."
_EXPORT = (
    "Write an image to oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME], or its root as a tarball to FILE or "
    "to - ; of an --upper directory, the root that its sandbox saw."
)
_COMMIT = "Make an image of what a sandbox has kept in its --upper directory, over the image or the directories below it."


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
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-q", "--quiet", action="store_true", help="ids only")
    how.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    images = Store().images()
    if options.json:
        import msgspec

        print(msgspec.json.encode([_described(image) for image in images]).decode())
    elif options.quiet:
        for image in images:
            print(_id(image))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table("NAME", "ID", "CREATED", "SIZE", box=None, header_style="bold")
        for row in _rows(images):
            table.add_row(*row)
        Console().print(table)
    else:
        rows = [("NAME", "ID", "CREATED", "SIZE"), *_rows(images)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _id(image: Image) -> str:
    return image.id.partition(":")[2][:12]


def _rows(images: list[Image]) -> list[tuple[str, str, str, str]]:
    rows = []
    for image in images:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created))
        rows += [(familiar(name), _id(image), when, size_text(image.size)) for name in image.names or ["<none>"]]
    return rows


def _described(image: Image) -> dict:
    return {
        "names": image.names, "id": image.id, "digest": image.descriptor.digest, "created": image.created, "size": image.size,
        "platform": str(image.config.platform), "layers": image.config.diff_ids,
    }  # fmt: skip


def _rmi(parser, arguments: list[str]) -> int:
    parser.add_argument("names", metavar="IMAGE", nargs="+")
    names, gone = Store().remove(parser.parse_args(arguments).names)
    for name in names:
        print(f"untagged {familiar(name)}")
    for digest in gone:
        print(f"removed {digest}")
    return 0


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
    store, upper = Store(), Upper(os.path.abspath(options.upper))
    with shown() as progress:
        image = commit(store, upper, options.lower, name, changes, options.message, options.author, progress)
    print(image.id)
    return 0
