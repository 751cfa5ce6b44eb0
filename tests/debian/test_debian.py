"""A Debian root, made and filled by an ordinary user inside int80: apt installs, and what it installed works.

Root runs this as another user, without capabilities.  Needs the network, 2.5 GB in /var/tmp and many minutes;
INT80_DEBIAN=DIR keeps the root there, and uses it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import build_root
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif("INT80_CAMPAIGN" not in os.environ, reason="takes many minutes: set INT80_CAMPAIGN=1"),
]

_USER = 24680
_DROP = [
    "setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
]  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = Path(__file__).parent / "programs"
_FIRST = "git sqlite3 nginx redis-server"
_MORE = "bzip2 curl default-jdk-headless dpkg-dev gcc golang-go libc6-dev make nodejs perl procps redis-tools wrk"
_WAIT = 'try() { for _ in $(seq 500); do "$@" >/dev/null 2>&1 && return; done; echo "$*: never" >&2; exit 1; }\n'


@pytest.fixture(scope="module")
def ordinary(int80, tmp_path_factory):
    """The command, run by an ordinary user who has a home."""
    if os.geteuid():
        return int80
    if subprocess.run([*_DROP, *int80, "--version"], capture_output=True).returncode:
        pytest.skip("uid 24680 cannot read this directory: clone the repository where everybody may, such as /var/tmp")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="int80-debian-home-") as home:
        os.chown(home, _USER, _USER)
        yield [*_DROP, "env", f"HOME={home}", "XDG_CACHE_HOME=", "XDG_DATA_HOME=", "TMPDIR=", *int80]


@pytest.fixture(scope="module")
def root(ordinary):
    """A root fresh from debootstrap."""
    kept = os.environ.get("INT80_DEBIAN")
    place = Path(kept or tempfile.mkdtemp(dir="/var/tmp", prefix="int80-debian-"))
    place.mkdir(exist_ok=True)
    place.chmod(0o755)  # it is to be /, which everybody inside searches
    try:
        if not any(place.iterdir()):
            os.chown(place, *([_USER, _USER] if os.geteuid() == 0 else [-1, -1]))
            try:
                build_root.build(ordinary, place, timeout=3600)
            except subprocess.CalledProcessError as failure:
                pytest.fail(f"debootstrap: {failure.returncode}\n{failure.stdout[-6000:]}")
        yield place
    finally:
        if not kept:
            shutil.rmtree(place)


@pytest.fixture(scope="module")
def shell(ordinary, root):
    """Run a script of bash's in the root, as root of the sandbox; what it prints."""

    def call(script: str, net: str = "none", timeout: float = 300, quiet: bool = True) -> list[str]:
        options = ["--net", net, "--rootfs", str(root), "-w", "/root", "-e", f"PATH={_PATH}", "-e", "HOME=/root"]
        options += ["-v", f"{_PROGRAMS}:/programs:ro"]
        done = subprocess.run(
            [*ordinary, "run", *options, "--", "bash", "-e", "-o", "pipefail", "-c", _WAIT + script],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert "int80:" not in done.stderr, done.stderr
        assert not quiet or done.stderr == ""
        return done.stdout.splitlines()

    return call


@pytest.fixture(scope="module")
def apt(shell):
    """Install packages as anybody would; those that are there already are no work."""

    def install(packages: str) -> None:
        script = f"export DEBIAN_FRONTEND=noninteractive; apt-get update && apt-get install -y --no-install-recommends {packages}"
        shell(script, net="host", timeout=3600, quiet=False)

    return install


@pytest.fixture(scope="module")
def tools(apt):
    """The programs that the tests below start."""
    apt(f"{_FIRST} {_MORE}")


@pytest.fixture(params=["none", "host"])
def net(request):
    """The sandbox's own loopback, and the host's."""
    return request.param


def test_debootstrap_gives_the_owners_modes_and_files_that_the_packages_have(shell):
    assert shell("stat -c '%a %U:%G %n' /etc/shadow /usr/bin/passwd /usr/sbin/unix_chkpwd /var/mail /tmp") == [
        "640 root:shadow /etc/shadow",
        "4755 root:root /usr/bin/passwd",
        "2755 root:shadow /usr/sbin/unix_chkpwd",
        "2775 root:mail /var/mail",
        "1777 root:root /tmp",
    ]
    assert shell("dpkg --audit; dpkg --verify | grep -v ' c /' || true") == []


def test_apt_installs_servers_and_tools_and_leaves_nothing_half_done(apt, shell):
    apt(_FIRST)
    assert shell("dpkg --audit; apt-get -qq check; dpkg --verify | grep -v ' c /' || true") == []
    assert shell(f"dpkg-query -W -f '${{db:Status-Abbrev}}\\n' {_FIRST}") == ["ii "] * 4
    assert shell("stat -c '%U:%G' /var/lib/redis /var/lib/redis/.; getent passwd redis | cut -d: -f1,6") == [
        "redis:redis", "redis:redis", "redis:/var/lib/redis",
    ]  # fmt: skip


def test_apt_removes_and_purges_what_it_installed(apt, shell, tools):
    assert shell("""
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq install -y --no-install-recommends hello >/dev/null; hello
        apt-get -qq purge -y hello >/dev/null; test -e /usr/bin/hello || echo gone
    """, net="host", timeout=600, quiet=False) == ["Hello, world!", "gone"]  # fmt: skip


def test_git_clones_commits_collects_and_finds_nothing_wrong(shell, tools):
    assert shell("""
        rm -rf git; mkdir git; cd git
        git config --global user.name Ann; git config --global user.email ann@example.org
        git config --global init.defaultBranch main; git config --global advice.detachedHead false
        git init -q one; cd one
        for i in $(seq 50); do echo $i >file$i; done; mkdir dir; ln -s ../file1 dir/link; chmod +x file2
        git add -A; git commit -qm first
        for i in 1 2 3; do echo more >>file$i; git commit -qam "change $i"; done
        cd ..; git clone -q one two; git clone -q --bare "file://$PWD/one" three.git
        cd two; git checkout -qb branch; echo new >new; git add new; git commit -qm new; git push -q origin branch
        git gc -q; git -C ../three.git fsck --full --strict 2>&1; git fsck --full --strict 2>&1
        git -C ../one fsck --full --strict 2>&1
        git -C ../one worktree add -q ../tree branch; git -C ../tree log -1 --format=%s
        git -C ../one log --oneline branch | wc -l
        git status --short; readlink dir/link; test -x file2 && git grep -c more
    """, timeout=600) == ["new", "5", "../file1", "file1:1", "file2:1", "file3:1"]  # fmt: skip


def test_sqlite_in_wal_mode_under_two_writers_and_a_reader(shell, tools):
    assert shell("""
        rm -rf sqlite; mkdir sqlite; cd sqlite
        ask() { sqlite3 -cmd '.timeout 60000' base "$1"; }
        ask 'pragma journal_mode = wal; create table pairs (who, number)'
        write() {
            for i in $(seq 60); do
                ask "begin immediate; insert into pairs values ('$1', $i); insert into pairs values ('$1', -$i); commit"
            done
        }
        write a & one=$!; write b & two=$!
        for _ in $(seq 30); do ask 'select count(*) % 2, total(number) from pairs'; done | sort -u
        wait $one; wait $two
        ask 'pragma integrity_check; select who, count(*), total(number) from pairs group by who; pragma journal_mode'
        ls
    """) == ["wal", "0|0.0", "ok", "a|120|0.0", "b|120|0.0", "wal", "base"]  # fmt: skip


def test_redis_under_its_benchmark(shell, tools, net):
    said = shell("""
        rm -rf redis; mkdir redis; cd redis
        redis-server --port 16399 --unixsocket /root/redis/socket --appendonly yes --save '' --enable-debug-command yes >log &
        try redis-cli -p 16399 ping
        redis-benchmark -p 16399 --csv -n 5000 -c 20 -t ping,set,get,lpush,mset | cut -d, -f1
        redis-benchmark -s socket --csv -n 5000 -c 20 -P 8 -t incr | cut -d, -f1
        redis-cli -p 16399 set name value; redis-cli -s socket get name
        redis-cli -p 16399 bgrewriteaof >/dev/null
        try sh -c "redis-cli -p 16399 info persistence | grep aof_rewrite_in_progress:0"
        redis-cli -p 16399 debug loadaof; redis-cli -p 16399 get name
        redis-cli -p 16399 shutdown; wait
        tail -1 log | cut -d' ' -f7-
    """, net=net)
    assert said == [
        '"test"', '"PING_INLINE"', '"PING_MBULK"', '"SET"', '"GET"', '"LPUSH"', '"MSET (10 keys)"', '"test"', '"INCR"',
        "OK", "value", "OK", "value", "Redis is now ready to exit, bye bye...",
    ]  # fmt: skip


def test_nginx_answers_curl_and_wrk(shell, tools, net):
    said = shell("""
        rm -rf nginx /var/www/int80; mkdir nginx /var/www/int80; cd nginx
        echo hello >/var/www/int80/index.html; head -c 300000 /dev/urandom >/var/www/int80/big
        cat >conf <<C
user www-data; worker_processes 2; pid /root/nginx/pid; error_log /root/nginx/errors;
events { worker_connections 256; }
http { access_log /root/nginx/log; sendfile on; server { listen 127.0.0.1:18099; root /var/www/int80; } }
C
        nginx -c $PWD/conf
        curl -sS http://127.0.0.1:18099/; curl -sS http://127.0.0.1:18099/big | cmp - /var/www/int80/big
        for page in '' big; do
            wrk -t2 -c16 -d1 http://127.0.0.1:18099/$page >wrk
            grep -c 'Socket errors\\|Non-2xx' wrk || test $(grep -o '[0-9]* requests in' wrk | cut -d' ' -f1) -gt 100
        done
        nginx -c $PWD/conf -s reload; try curl -sSf http://127.0.0.1:18099/
        ps -C nginx -o user= | sort -u
        nginx -c $PWD/conf -s quit; try sh -c '! test -e pid'
        grep -v notice errors || true
    """, net=net, quiet=False)
    assert said == ["hello", "0", "0", "root", "www-data"]


def test_gcc_compiles_and_its_program_runs(shell, tools):
    assert shell("""
        rm -rf c; mkdir c; cd c
        gcc -O2 -Wall -Werror -flto -pthread -o sum /programs/sum.c; ./sum
        gcc -O2 -static -pthread -o static /programs/sum.c; ./static
    """) == ["2800000", "2800000"]  # fmt: skip


def test_make_builds_busybox_with_two_jobs(shell, tools):
    said = shell("""
        sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
        rm -rf busybox; mkdir busybox; cd busybox
        { apt-get -qq update; apt-get -qq source busybox; cd busybox-*; make defconfig; } >/dev/null 2>&1
        sed -i 's/^CONFIG_TC=y/# CONFIG_TC is not set/; s/.*CONFIG_STATIC is not set/CONFIG_STATIC=y/' .config
        { yes '' || true; } | make oldconfig >/dev/null 2>&1
        make -j2 >log 2>&1 || { tail -20 log >&2; exit 1; }
        ./busybox echo built; ./busybox sh -c 'echo $((6 * 7))'; ldd busybox 2>&1 | tr -d '\\t' || true
        make -j2 2>&1 | grep -c ' CC \\| LD ' || true
    """, net="host", timeout=3600)
    assert said == ["built", "42", "not a dynamic executable", "0"]


def test_perl_with_threads_sockets_and_processes(shell, tools):
    assert shell("perl /programs/serve.pl") == ["42", "HELLO", "3", "b", "root", "sub", "alarm"]  # fmt: skip


def test_node_with_workers_children_watches_and_http(shell, tools, net):
    said = shell("""
        rm -rf node; mkdir node; cd node
        node /programs/serve.js
    """, net=net)
    assert sorted(said) == sorted(["worker 42", "watch change", "child", "page /x", "true root"])


def test_go_compiles_and_runs_goroutines_on_sockets(shell, tools, net):
    assert shell("""
        rm -rf go; mkdir go; cd go
        go run /programs/echo.go; go build -o echo /programs/echo.go; ./echo
    """, net=net) == ["child", "<nil>"] * 2


def test_java_compiles_and_runs_threads_files_sockets_and_processes(shell, tools, net):
    said = shell("""
        rm -rf java; mkdir java; cd java
        javac -d . /programs/Work.java; java Work; java -XX:+UseZGC Work | head -1
    """, net=net, timeout=600)
    assert said == ["4800", "echo", "child", "true", "caught", "4800"]


def test_a_new_user_may_what_a_user_may(shell, tools):
    assert shell("""
        userdel -rf ann 2>/dev/null || true
        adduser --quiet --disabled-password --gecos '' ann
        su - ann -c 'id -un; pwd; cat /etc/shadow 2>&1; git init -q repo; ls -A repo; touch /etc/x 2>&1' || true
        stat -c %U:%G /home/ann/repo
    """, quiet=False) == [
        "ann", "/home/ann", "cat: /etc/shadow: Permission denied", ".git",
        "touch: cannot touch '/etc/x': Permission denied", "ann:ann",
    ]  # fmt: skip
