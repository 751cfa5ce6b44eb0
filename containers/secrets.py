"""What of the host a sandbox on the host's own root does not see: secrets, and other sandboxes' stores."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator

# Below every home directory.
HOME = (
    ".ssh", ".gnupg", ".pki", ".password-store", ".local/share/keyrings", ".local/share/kwalletd", ".kde/share/apps/kwallet",
    ".aws", ".azure", ".boto", ".s3cfg", ".config/gcloud", ".config/rclone", ".config/doctl", ".config/heroku", ".oci",
    ".kube", ".docker/config.json", ".config/containers/auth.json", ".helm", ".terraform.d/credentials.tfrc.json",
    ".vault-token", ".fly", ".netrc", ".authinfo", ".authinfo.gpg", ".git-credentials", ".config/git/credentials",
    ".config/gh", ".config/hub", ".config/glab-cli", ".npmrc", ".yarnrc.yml", ".pypirc", ".gem/credentials",
    ".cargo/credentials", ".cargo/credentials.toml", ".m2/settings-security.xml", ".config/pypoetry/auth.toml", ".pgpass",
    ".my.cnf", ".mylogin.cnf", ".config/op", ".config/Bitwarden", ".config/1Password", ".config/keepassxc", ".electrum",
    ".bitcoin", ".ethereum", ".monero", ".mozilla", ".thunderbird", ".config/google-chrome", ".config/google-chrome-beta",
    ".config/chromium", ".config/BraveSoftware", ".config/microsoft-edge", ".config/vivaldi", ".config/opera", ".cache/mozilla",
    ".cache/google-chrome", ".cache/chromium", "snap/firefox", "snap/chromium", ".var/app/org.mozilla.firefox",
    ".config/Signal", ".config/Slack", ".config/discord", ".config/Element", ".purple", ".Xauthority", ".ICEauthority",
    ".bash_history", ".zsh_history", ".local/share/fish/fish_history", ".python_history", ".node_repl_history",
    ".psql_history", ".mysql_history", ".sqlite_history", ".lesshst", ".viminfo",
)  # fmt: skip

# Of the system.  An ordinary user cannot read most of these anyway; root could.
SYSTEM = (
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/security/opasswd",
    "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssl/private",
    "/etc/pki/tls/private", "/etc/krb5.keytab", "/etc/wireguard", "/etc/openvpn", "/etc/NetworkManager/system-connections",
    "/etc/letsencrypt", "/var/lib/sss", "/var/lib/NetworkManager", "/run/secrets", "/run/credentials",
    "/var/run/secrets",
)  # fmt: skip

# File systems through which the host's kernel and other processes are seen, wherever they are mounted.
_KERNELS = frozenset(
    b"autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl mqueue nsfs proc pstore "
    b"rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)

_SECRET_VARIABLE = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|_KEY$|_PWD$|_PAT$|_AUTH$|AUTH_SOCK|AGENT_"
)
_SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # a password in a URL
_SOCKET_VARIABLES = frozenset(
    ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XAUTHORITY", "KRB5CCNAME", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
)


def hidden(hide: Iterable[str] = (), expose: Iterable[str] = ()) -> list[bytes]:
    """The absolute paths to hide: the usual secrets and `hide`, where a symlink leads too, but nothing of `expose`.

    Of a directory that is to be hidden with something exposed in it, everything else is hidden that it holds now.
    """
    shown = {path for given in expose for path in _places(given)}
    paths = {path for given in (*_usual(), *hide) for path in _places(given)}
    kept = {inner for path in paths if path != "/" for inner in _without(path, shown)}
    return sorted(os.fsencode(path) for path in kept) + sorted(_kernel_mounts())


def _is_below(path: str, top: str) -> bool:
    """Whether a path is `top` or lies in it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def _without(path: str, shown: set[str]) -> Iterator[str]:
    """What is to be hidden of `path`, so that the paths in `shown` are seen."""
    if any(_is_below(path, top) for top in shown):
        return
    if not any(_is_below(top, path) for top in shown):
        yield path
        return
    try:
        for name in os.listdir(path):
            yield from _without(os.path.join(path, name), shown)
    except OSError:
        yield path


def _usual() -> Iterator[str]:
    for home in _homes():
        yield from (os.path.join(home, name) for name in HOME)
    yield from SYSTEM
    yield from (f"/run/user/{os.getuid()}", f"/tmp/krb5cc_{os.getuid()}")
    yield os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "int80")
    yield os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "int80")


def _homes() -> set[str]:
    homes = {os.path.expanduser("~"), "/root"}
    try:
        homes.update(entry.path for entry in os.scandir("/home") if entry.is_dir())
    except OSError:
        pass  # no /home, or none of ours
    return homes - {"/"}


def _places(path: str) -> Iterator[str]:
    """The path without symlinks on the way, as the guest's walk comes to it; and where it leads, if it is one itself."""
    head, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    place = os.path.join(_real_directory(head), name)
    yield place
    if os.path.islink(place):
        target = os.path.realpath(place)
        if not any(_is_below(_real_directory(home), target) for home in _homes()):  # else a link would hide a whole home
            yield target


@functools.cache
def _real_directory(path: str) -> str:
    return os.path.realpath(path)


def _kernel_mounts() -> Iterator[bytes]:
    """The mount points of file systems that show the kernel; proc(5), /proc/PID/mountinfo."""
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields, _, kind = line.partition(b" - ")
            place = fields.split(b" ")[4]
            if kind.split(b" ", 1)[0] in _KERNELS and place not in (b"/proc", b"/sys", b"/dev", b"/"):
                yield re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), place)


def harmless_environment() -> dict[bytes, bytes]:
    """The environment of int80 itself without what holds, or leads to, a secret."""
    return {
        os.fsencode(name): os.fsencode(value)
        for name, value in os.environ.items()
        if not _SECRET_VARIABLE.search(name.upper()) and name not in _SOCKET_VARIABLES and not _SECRET_VALUE.search(value)
    }


def page() -> str:
    """The list as docs/secrets.md has it."""
    import textwrap

    kernels = ", ".join(sorted(kind.decode() for kind in _KERNELS))
    text = (
        "Made from the lists by `python -m containers.secrets > docs/secrets.md`. `--hide PATH` adds to them, `--expose PATH` "
        "takes from them; what is hidden reads as absent. Hidden too are int80's own stores, and mounts of file systems that "
        f"show the host's kernel ({kernels}), but for the guest's own."
    )
    lines = [
        "# What a guest on this machine's root does not see",
        "",
        textwrap.fill(text, 120, break_on_hyphens=False),
        "",
        "Below every home directory:",
        "",
        *(f"- `~/{name}`" for name in HOME),
        "",
        "Of the system:",
        "",
        *(f"- `{path}`" for path in SYSTEM),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
