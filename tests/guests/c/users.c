/* Makes calls on files as several users: one line each, "USER CAPS OPERATION ARGUMENTS", and a tree at the end.

   Run by root in an empty directory.  The saved user id stays 0, so that the next line can be another user's. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int home;

static void become(long user, unsigned long caps)
{
    static const gid_t shared[] = { 50, 60 };
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_setresuid, 0, 0, 0) || fchdir(home) || (user && user != 3 && syscall(SYS_setgroups, user % 10 ? 2 : 1, shared)))
        _exit(3);
    if (!user || user == 3)
        syscall(SYS_setgroups, 0, NULL);
    if (syscall(SYS_setresgid, user, user, 0) || syscall(SYS_setresuid, user, user, 0))
        _exit(4);
    if (!user)
        return;
    syscall(SYS_capget, &header, data);
    data[0].effective = caps;
    data[1].effective = 0;
    if (syscall(SYS_capset, &header, data))
        _exit(5);
}

static void say(long result)
{
    if (result < 0)
        printf("%s\n", strerrorname_np(errno));
    else
        printf("%ld\n", result);
}

static void closing(int fd)
{
    say(fd < 0 ? fd : 0);
    if (fd >= 0)
        close(fd);
}

static long run(const char *path)
{
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        char *argv[] = { "x", NULL };
        execve(path, argv, argv + 1);
        _exit(errno);
    }
    int status;
    waitpid(pid, &status, 0);
    errno = WEXITSTATUS(status);
    return -1;
}

static void tree(int fd, const char *where)
{
    struct dirent **names;
    int count = scandirat(fd, ".", &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *name = names[i]->d_name, path[4096], value[64] = "";
        struct stat st;
        if (!strcmp(name, ".") || !strcmp(name, ".."))
            continue;
        snprintf(path, sizeof path, "%s/%s", where, name);
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
            printf("%s %s\n", path, strerrorname_np(errno));
            continue;
        }
        printf("%s %o %d:%d %s\n", path, st.st_mode, st.st_uid, st.st_gid, value);
        if (S_ISDIR(st.st_mode)) {
            int inner = openat(fd, name, O_RDONLY | O_DIRECTORY);
            tree(inner, path);
            close(inner);
        }
    }
}

int main(void)
{
    char line[4096], op[32], a[512], b[512];
    long user, m, n;
    unsigned long caps;

    home = open(".", O_RDONLY | O_DIRECTORY);
    umask(0);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "--\n"))
            break;
        *a = *b = 0;
        m = n = 0;
        if (sscanf(line, "%ld %lx %31s", &user, &caps, op) != 3)
            return 2;
        char *rest = strstr(line, op) + strlen(op);
        sscanf(rest, " %511s %511s %lo %lo", a, b, &m, &n);
        become(user, caps);
        struct stat st;
        if (!strcmp(op, "open")) closing(open(a, strtol(b, NULL, 8) | O_NONBLOCK, m));
        else if (!strcmp(op, "unlink")) say(unlink(a));
        else if (!strcmp(op, "rmdir")) say(rmdir(a));
        else if (!strcmp(op, "mkdir")) say(mkdir(a, m));
        else if (!strcmp(op, "mkfifo")) say(mknod(a, S_IFIFO | m, 0));
        else if (!strcmp(op, "symlink")) say(symlink(b, a));
        else if (!strcmp(op, "link")) say(link(a, b));
        else if (!strcmp(op, "rename")) say(syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, m));
        else if (!strcmp(op, "chmod")) say(chmod(a, m));
        else if (!strcmp(op, "chown")) say(chown(a, m, n));
        else if (!strcmp(op, "lchown")) say(lchown(a, m, n));
        else if (!strcmp(op, "access")) say(access(a, m));
        else if (!strcmp(op, "eaccess")) say(syscall(439, AT_FDCWD, a, m, AT_EACCESS));
        else if (!strcmp(op, "chdir")) say(chdir(a));
        else if (!strcmp(op, "readlink")) say(readlink(a, b, sizeof b));
        else if (!strcmp(op, "truncate")) say(truncate(a, m));
        else if (!strcmp(op, "touch")) say(utimes(a, NULL));
        else if (!strcmp(op, "settime")) say(utimes(a, (struct timeval[2]){ { 1, 0 }, { 2, 0 } }));
        else if (!strcmp(op, "setxattr")) say(setxattr(a, "user.a", "v", 1, 0));
        else if (!strcmp(op, "getxattr")) say(getxattr(a, "user.a", b, sizeof b));
        else if (!strcmp(op, "rmxattr")) say(removexattr(a, "user.a"));
        else if (!strcmp(op, "exec")) say(run(a));
        else if (!strcmp(op, "stat")) {
            if (stat(a, &st))
                say(-1);
            else
                printf("%o %d:%d\n", st.st_mode, st.st_uid, st.st_gid);
        } else
            return 6;
    }
    become(0, 0);
    tree(home, ".");
    return 0;
}
