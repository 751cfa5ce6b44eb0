"""`cp` and `diff`: files between this machine and containers, with docker's meaning of names, and no way out of either."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile

import pytest


@pytest.fixture(params=["stopped", "running"])
def container(engine, request) -> str:
    """A container that runs, and one that does not: what is copied is the same."""
    words = ("sleep", "1000") if request.param == "running" else ("true",)
    engine.run(*words, options=("-d", "--name", "one"))
    if request.param == "stopped":
        engine("wait", "one")
    return "one"


@pytest.fixture
def tree(tmp_path):
    """A directory of everything."""
    top = tmp_path / "tree"
    (top / "inner/deep").mkdir(parents=True)
    (top / "file").write_bytes(os.urandom(3 << 20))
    (top / "file").chmod(0o640)
    os.link(top / "file", top / "inner/same")
    (top / "link").symlink_to("file")
    (top / "dangling").symlink_to("/nowhere/at/all")
    (top / "inner/deep").chmod(0o710)
    (top / "empty").touch()
    (top / "odd \n\udcff name").touch()
    os.mkfifo(top / "fifo", 0o600)
    os.utime(top / "file", ns=(10**18, 10**18 + 5))
    os.utime(top / "inner", ns=(10**18, 10**18))
    return top


def described(top) -> dict[str, tuple]:
    """What a tree is made of: modes, times, targets, contents, and which files are one."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            what: object = None
            if stat.S_ISLNK(status.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    what = hash(file.read())
            links = status.st_nlink if stat.S_ISREG(status.st_mode) else 0
            found[os.path.relpath(path, top)] = (status.st_mode, status.st_mtime_ns, links, what)
    return found


def test_there_and_back_is_the_same(engine, container, tree, tmp_path):
    engine("cp", str(tree), f"{container}:/tmp")
    engine("cp", f"{container}:/tmp/tree", str(tmp_path / "back"))
    assert described(tmp_path / "back") == described(tree)


@pytest.mark.slow
def test_names_mean_what_docker_says(engine, container, tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("f")
    (tmp_path / "file").write_text("text")
    out = tmp_path / "out"
    out.mkdir()

    def there(path: str) -> bool:
        return engine("cp", f"{container}:{path}", "-", check=False).returncode == 0

    engine("cp", f"{tmp_path}/file", f"{container}:/tmp/new")  # a new name
    engine("cp", f"{tmp_path}/file", f"{container}:/tmp/")  # into a directory
    engine("cp", f"{tmp_path}/d", f"{container}:/tmp/new-d")  # a directory under a new name
    engine("cp", f"{tmp_path}/d", f"{container}:/tmp/new-d")  # into it
    engine("cp", f"{tmp_path}/d/.", f"{container}:/tmp/new-d/e")  # what is in it
    assert all(map(there, ("/tmp/new", "/tmp/file", "/tmp/new-d/e/f", "/tmp/new-d/d/e/f", "/tmp/new-d/e/e/f")))
    engine("cp", f"{container}:/tmp/new", f"{out}/x")
    engine("cp", f"{container}:/tmp/new", str(out))
    engine("cp", f"{container}:/tmp/new-d/.", str(out))
    engine("cp", f"{container}:tmp/new-d", f"{out}/y")
    assert sorted(os.listdir(out)) == ["d", "e", "new", "x", "y"] and (out / "x").read_text() == "text"
    for words in (
        (f"{tmp_path}/file", f"{container}:/tmp/nosuch/"), (f"{tmp_path}/file", f"{container}:/no/such"),
        (f"{tmp_path}/d", f"{container}:/tmp/new"), (f"{tmp_path}/nosuch", f"{container}:/tmp"),
        (f"{tmp_path}/file/", f"{container}:/tmp"), (f"{container}:/tmp", f"{container}:/tmp"),
        (f"{container}:/nosuch", str(out)), (f"{container}:/tmp/new/", str(out)),
        (f"{container}:/tmp/new-d", f"{out}/x"), (f"{container}:/tmp/new", f"{out}/no/such"),
    ):  # fmt: skip
        done = engine("cp", *words, check=False)
        assert done.returncode == 125 and done.stderr.startswith("int80: cp: ") and done.stderr.count("\n") == 1, (words, done)


def test_a_file_is_replaced_and_a_symlink_is_not_followed_but_at_the_end(engine, container, tmp_path):
    (tmp_path / "file").write_text("new")
    script = "mkdir /real; echo old > /real/file; ln -s real /to-dir; ln -s real/file /to-file"
    engine("start", container)
    if engine("exec", container, "sh", "-c", script, check=False).returncode:  # the one that does not run
        with tarfile.open(tmp_path / "t.tar", "w") as tar:
            links = [("to-dir", tarfile.SYMTYPE, "real"), ("to-file", tarfile.SYMTYPE, "real/file")]
            for name, kind, target in [("real", tarfile.DIRTYPE, ""), *links]:
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.mode = kind, target, 0o755
                tar.addfile(member)
        engine("cp", "-", f"{container}:/", stdin=(tmp_path / "t.tar").read_bytes())
        engine("cp", f"{tmp_path}/file", f"{container}:/real/file")
    engine("cp", f"{tmp_path}/file", f"{container}:/to-dir")
    engine("cp", f"{container}:/real/file", f"{tmp_path}/a")
    assert (tmp_path / "a").read_text() == "new"
    engine("cp", f"{container}:/to-file", f"{tmp_path}/b")
    assert os.readlink(tmp_path / "b") == "real/file"
    engine("cp", "-L", f"{container}:/to-file", f"{tmp_path}/c")
    assert (tmp_path / "c").read_text() == "new"


def test_no_symlink_leads_out_of_the_container(engine, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    script = f"ln -s {secret} /out; ln -s / /root-link; mkdir -p /deep; ln -s ../../../../../../..{secret} /deep/up; sleep 1000"
    engine.run("sh", "-c", script, options=("-d", "--name", "one"))
    engine.until(lambda: engine("exec", "one", "ls", "/deep/up", check=False).stderr and engine("cp", "one:/deep/up", "-").stdout)
    for path in ("/out/key", "/deep/up/key", f"/root-link{secret}/key"):
        assert engine("cp", f"one:{path}", "-", check=False).returncode == 125
        assert engine("cp", "-L", f"one:{path}", "-", check=False).returncode == 125
    (tmp_path / "file").write_text("mine")
    assert engine("cp", f"{tmp_path}/file", "one:/out/key", check=False).returncode == 125
    assert engine("cp", f"{tmp_path}/file", "one:/out/", check=False).returncode == 125
    assert (secret / "key").read_text() == "secret" and os.listdir(secret) == ["key"]


def test_no_symlink_of_the_container_leads_out_of_where_it_is_copied_to(engine, tmp_path):
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    out.mkdir()
    (out / "d").symlink_to(victim)
    engine.run("sh", "-c", f"mkdir -p /x/d; echo bad > /x/d/file; ln -s {victim} /x/e", options=("-d", "--name", "one"))
    engine("wait", "one")
    done = engine("cp", "one:/x/.", str(out), check=False)
    assert done.returncode == 125 and done.stderr.count("\n") == 1
    assert os.listdir(victim) == []
    (out / "d").unlink()
    engine("cp", "one:/x/.", str(out))
    assert os.readlink(out / "e") == str(victim) and os.listdir(victim) == []


def test_a_tar_with_names_that_lead_out_is_refused(engine, container, tmp_path):
    for name in ("../x", "a/../../x"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo(name))
        done = engine("cp", "-", f"{container}:/tmp", stdin=file.getvalue(), check=False)
        assert done.returncode == 125 and ".." in done.stderr
    done = engine("cp", "-", f"{container}:/tmp", stdin=b"no tar at all" * 100, check=False)
    assert done.returncode == 125 and done.stderr.count("\n") == 1


def test_tars_are_written_and_read(engine, container, tree, tmp_path):
    (tree / "odd \n\udcff name").unlink()
    packed = subprocess.run(["tar", "c", "-C", str(tmp_path), "tree"], capture_output=True, check=True).stdout
    engine("cp", "-", f"{container}:/tmp", stdin=packed)
    command = [*engine.command, "cp", f"{container}:/tmp/tree", "-"]
    done = subprocess.run(command, capture_output=True, env=engine.env, check=True)
    (tmp_path / "back").mkdir()
    subprocess.run(["tar", "x", "-C", str(tmp_path / "back")], input=done.stdout, check=True)
    one, other = (
        {name: (mode, *rest) for name, (mode, _, *rest) in described(top).items()} for top in (tmp_path / "back/tree", tree)
    )
    assert one == other


def test_a_volume_that_is_read_only_is_not_written(engine, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "file").write_text("x")
    volumes = ("-v", f"{tmp_path}/shared:/ro:ro", "-v", f"{tmp_path}/shared:/rw")
    engine.run("sleep", "1000", options=("-d", "--name", "one", *volumes))
    done = engine("cp", f"{tmp_path}/file", "one:/ro/", check=False)
    assert done.returncode == 125 and "read-only" in done.stderr
    engine("cp", f"{tmp_path}/file", "one:/rw/")
    assert os.listdir(tmp_path / "shared") == ["file"]
    assert engine("exec", "one", "cat", "/ro/file").stdout == "x"


def test_owners_are_roots_unless_they_are_to_be_kept(engine, container, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.uid, member.gid = 12, 34
        tar.addfile(member)
    for options, owner in (((), (0, 0)), (("-a",), (12, 34))):
        engine("cp", *options, "-", f"{container}:/tmp", stdin=file.getvalue())
        out = subprocess.run([*engine.command, "cp", f"{container}:/tmp/file", "-"], capture_output=True, env=engine.env).stdout
        with tarfile.open(fileobj=io.BytesIO(out)) as tar:
            member = tar.getmember("file")
            assert (member.uid, member.gid) == owner


def test_made_up_files_can_be_had_and_are_left_out_of_the_whole(engine, tmp_path):
    engine.run("sleep", "1000", options=("-d", "--name", "one"))
    engine("cp", "one:/proc/1/cmdline", f"{tmp_path}/cmdline")
    assert (tmp_path / "cmdline").read_bytes() == b"sleep\x001000\x00"
    engine("cp", "one:/", f"{tmp_path}/whole")
    assert (tmp_path / "whole/bin/busybox").exists() and (tmp_path / "whole/etc/passwd").exists()
    assert not (tmp_path / "whole/proc/1").exists() and not (tmp_path / "whole/dev/null").exists()


# -- diff -------------------------------------------------------------------------------------------


def test_diff_marks_what_was_added_changed_and_deleted(engine):
    (engine.root / "etc/old").write_text("old")
    (engine.root / "opt").mkdir()
    (engine.root / "opt/x").touch()
    script = "echo new > /etc/new; echo more >> /etc/passwd; rm /etc/old; rm -r /opt; mkdir /opt /d; touch /opt/y /d/f"
    engine.run("sh", "-c", script, options=("-d", "--name", "one"))
    engine("wait", "one")
    assert engine("diff", "one").stdout.splitlines() == [
        "A /d", "A /d/f", "C /etc", "A /etc/new", "D /etc/old", "C /etc/passwd", "C /opt", "D /opt/x", "A /opt/y",
    ]  # fmt: skip
    assert "+more" in engine("diff", "--patch", "one").stdout
    assert engine("diff", "--json", "one").stdout.startswith("{")


def test_diff_over_several_directories(engine, tmp_path):
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/layer").touch()
    words = ("run", "-d", "--name", "one", "--lower", str(engine.root), "--lower", str(tmp_path / "over"), "--")
    engine(*words, "sh", "-c", "rm /etc/layer; echo x >> /etc/group")
    engine("wait", "one")
    assert engine("diff", "one").stdout.splitlines() == ["C /etc", "C /etc/group", "D /etc/layer"]


def test_a_root_that_takes_the_changes_has_no_diff(engine, tmp_path):
    shutil.copytree(engine.root, tmp_path / "own", symlinks=True)
    engine("run", "-d", "--name", "one", "--rootfs", str(tmp_path / "own"), "--", "touch", "/made")
    engine("wait", "one")
    assert (tmp_path / "own/made").exists()
    assert engine("diff", "one", check=False).returncode == 125


# -- images of containers ---------------------------------------------------------------------------


def test_a_container_is_exported_whole_and_nothing_that_is_mounted(engine, container, tmp_path):
    (tmp_path / "mine").write_text("mine")
    engine("cp", f"{tmp_path}/mine", f"{container}:/etc/mine")
    engine("export", "-o", f"{tmp_path}/root.tar", container)
    with tarfile.open(tmp_path / "root.tar") as tar:
        names = tar.getnames()
        assert tar.extractfile("etc/mine").read() == b"mine"
        assert tar.getmember("bin/sh").linkname == "busybox"
    assert "proc" in names and not any(name.startswith(("proc/", "dev/", "sys/")) for name in names)
    done = engine("export", "-o", "/nosuch/place", container, check=False)
    assert done.returncode == 125 and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_image_is_made_of_a_container_and_run(engine, container, tmp_path):
    (tmp_path / "mine").write_text("mine")
    engine("cp", f"{tmp_path}/mine", f"{container}:/etc/mine")
    identity = engine("commit", "-c", 'CMD ["cat", "/etc/mine"]', container, "made").stdout.strip()
    assert identity.startswith("sha256:")
    assert engine("run", "made").stdout == "mine"
    engine("run", "-d", "--name", "two", "made", "sh", "-c", "rm /etc/mine && echo over > /etc/more")
    assert engine("wait", "two").stdout == "0\n"
    assert engine("diff", "two").stdout.splitlines() == ["C /etc", "D /etc/mine", "A /etc/more"]
    assert engine.inspect("two")["Image"] == identity
    engine("commit", "two", "again")
    assert engine("run", "again", "sh", "-c", "cat /etc/more; ls /etc/mine", check=False).stdout == "over\n"
    assert engine.inspect(container)["State"]["Paused"] is False
    engine("rmi", "made", "again")
    engine("start", "two")  # which keeps the image it lies over
    assert engine("wait", "two").stdout != "0\n"  # there is nothing to remove any more
    engine("rm", "two")


def test_proc_of_a_container_that_does_not_run_is_copied(engine, tmp_path):
    engine.run("true", options=("--name", "one"))
    engine("cp", "one:/proc", str(tmp_path / "proc"))
    assert (tmp_path / "proc/loadavg").read_text().split()[3:] == ["1/0", "0"]
    assert not (tmp_path / "proc/self/status").exists()


def test_a_tar_that_cannot_be_written_is_one_line(engine):
    engine.run("true", options=("--name", "one"))
    for words in (("export", "one"), ("cp", "one:/bin", "-")):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*engine.command, *words], stdout=full, stderr=subprocess.PIPE, env=engine.env, text=True)
        assert done.returncode == 125 and done.stderr.count("\n") == 1, done.stderr
        assert "no space left on device" in done.stderr
