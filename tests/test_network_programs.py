"""Servers and clients of Debian's in one sandbox, on this machine's root; and Debian's mirror, from inside."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WAIT = """
cd /tmp
try() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; done; echo "$*: never" >&2; exit 1; }
"""


@pytest.fixture
def shell(int80):
    """Run a script of bash's, if the programs it needs are there; what it prints."""

    def call(script: str, *needs: str, options: tuple[str, ...] = (), timeout: float = 120) -> list[str]:
        missing = [name for name in needs if shutil.which(name, path=PATH) is None]
        if missing:
            pytest.skip(f"no {' and no '.join(missing)} on this machine (.ci/test, run by root, installs what is needed)")
        command = [*int80, "run", "-e", f"PATH={PATH}", *options, "--", "bash", "-c", WAIT + script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return call


def test_pythons_web_server_and_curl(shell):
    assert shell("""
        mkdir served; echo hello > served/page
        /usr/bin/python3 -m http.server -d served 8000 >/dev/null 2>&1 &
        try curl -s http://127.0.0.1:8000/page
        curl -s http://127.0.0.1:8000/page http://localhost:8000/page
        /usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8000/page").read())'
        kill %1
    """, "curl") == ["hello", "hello", "b'hello\\n'"]


def test_redis_under_its_own_benchmark(shell):
    said = shell("""
        redis-server --save '' --daemonize yes --unixsocket /tmp/redis.sock >/dev/null
        try redis-cli ping
        redis-cli set key value; redis-cli -s /tmp/redis.sock get key
        redis-benchmark -n 2000 -c 20 -t set,get --csv
        redis-cli shutdown nosave
    """, "redis-server", "redis-cli", "redis-benchmark")
    assert said[:2] == ["OK", "value"]
    assert [line.split(",")[0] for line in said[-2:]] == ['"SET"', '"GET"']


def test_nginx_with_two_workers(shell):
    assert shell("""
        mkdir ng; echo page > ng/index.html
        cat > ng/conf <<C
pid /tmp/ng/pid; error_log /tmp/ng/log; worker_processes 2; user root;
events {}
http { access_log off; server { listen 80; listen [::]:80; root /tmp/ng; } }
C
        nginx -c /tmp/ng/conf
        try curl -sf http://127.0.0.1/
        for _ in 1 2 3; do curl -sf http://127.0.0.1/ 'http://[::1]/'; done
        nginx -s quit -c /tmp/ng/conf 2>/dev/null
    """, "nginx", "curl") == ["page"] * 6


@pytest.mark.parametrize("net", ["none", "host"])
def test_ss_lists_the_sandboxes_sockets_and_has_nothing_to_complain_of(shell, net):
    assert shell("""
        /usr/bin/python3 -c '
import socket, subprocess
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
done = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True)
print(sum(f":{port} " in line for line in done.stdout.splitlines()), len(done.stdout.splitlines()), done.stderr)
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).bind((0, 1))  # NETLINK_KOBJECT_UEVENT'
    """, "ss", options=("--net", net)) == ["1 1 "]


def test_socat_over_every_kind_of_name(shell):
    assert shell("""
        for server in UNIX-LISTEN:/tmp/socat ABSTRACT-LISTEN:socat TCP4-LISTEN:700 TCP6-LISTEN:701; do
            socat $server EXEC:"echo ${server%%:*}" 2>/dev/null &
        done
        for client in UNIX-CONNECT:/tmp/socat ABSTRACT-CONNECT:socat TCP4:127.0.0.1:700 TCP6:[::1]:701; do
            for _ in $(seq 300); do socat -u $client - 2>/dev/null && break; done
        done
    """, "socat") == ["UNIX-LISTEN", "ABSTRACT-LISTEN", "TCP4-LISTEN", "TCP6-LISTEN"]


def test_nc_listens_and_connects(shell):
    assert shell("""
        (echo over nc | nc -l -N 127.0.0.1 7000) &
        for _ in $(seq 300); do nc -N 127.0.0.1 7000 </dev/null 2>/dev/null && break; done
    """, "nc") == ["over nc"]


def test_an_agent_for_ssh_keeps_keys(shell):
    said = shell("""
        eval $(ssh-agent) >/dev/null
        ssh-keygen -q -t ed25519 -N '' -C comment -f key && ssh-add -q key && ssh-add -l
        ssh-agent -k >/dev/null
    """, "ssh-agent", "ssh-keygen")
    assert said[0].startswith("256 SHA256:") and said[0].endswith("comment (ED25519)")


def test_ip_shows_the_loopback_alone(shell):
    assert shell("ip -br addr; ip route; ip link set lo down 2>&1; :", "ip") == [
        "lo               UNKNOWN        127.0.0.1/8 ::1/128 ",
        "RTNETLINK answers: Operation not permitted",
    ]


def test_ip_shows_what_a_network_namespace_begins_with(shell):
    assert [line.rstrip() for line in shell("""
        ip addr; ip rule; ip route show table local; ip -6 route show table local
        ip route get 127.0.0.5; ip route get ::1; ip route get 8.8.8.8 2>&1; bridge link
    """, "ip", "bridge")] == [
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000",
        "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00",
        "    inet 127.0.0.1/8 scope host lo",
        "       valid_lft forever preferred_lft forever",
        "    inet6 ::1/128 scope host",
        "       valid_lft forever preferred_lft forever",
        "0:\tfrom all lookup local",
        "32766:\tfrom all lookup main",
        "32767:\tfrom all lookup default",
        "local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1",
        "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1",
        "broadcast 127.255.255.255 dev lo proto kernel scope link src 127.0.0.1",
        "local ::1 dev lo proto kernel metric 0 pref medium",
        "local 127.0.0.5 dev lo src 127.0.0.1 uid 0",
        "    cache <local>",
        "local ::1 from :: dev lo table local proto kernel src ::1 metric 0 pref medium",
        "RTNETLINK answers: Network is unreachable",
    ]


@pytest.mark.slow
def test_apt_updates_its_lists_over_the_hosts_network(shell):
    try:
        socket.create_connection(("deb.debian.org", 80), 5).close()
    except OSError:
        pytest.skip("deb.debian.org is not reached from this machine")
    if not os.path.exists("/etc/apt/sources.list.d/debian.sources"):
        pytest.skip("this machine's apt has no list of Debian's")
    said = shell("""
        mkdir -p lists/partial cache/archives/partial
        apt-get update -o APT::Sandbox::User=root -o Dir::State::Lists=/tmp/lists -o Dir::Cache=/tmp/cache 2>&1
    """, "apt-get", options=("--net", "host"))
    assert said[-1] == "Reading package lists..."
    assert not [line for line in said if line.startswith(("E:", "W:", "Err"))], said
