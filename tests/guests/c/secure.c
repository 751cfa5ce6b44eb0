/* What an exec made of the ids; with arguments, what else is asked for. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void say(const char *what, long value)
{
    printf("%s %s\n", what, value < 0 ? strerrorname_np(errno) : "0");
}

int main(int argc, char **argv)
{
    uid_t r, e, s;
    getresuid(&r, &e, &s);
    printf("%d %d %d ", r, e, s);
    getresgid(&r, &e, &s);
    printf("%d %d %d secure %lu auxv %lu %lu dumpable %d\n", r, e, s, getauxval(AT_SECURE), getauxval(AT_UID), getauxval(AT_EUID),
           prctl(PR_GET_DUMPABLE));
    if (argc > 1 && !strcmp(argv[1], "others")) { /* than init, which is root's */
        if (setgroups(0, NULL) || setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000))
            return 1;
        printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
        char byte;
        struct iovec local = { &byte, 1 }, remote = { main, 1 };
        struct rlimit limit = { 5, 5 };
        say("kill", kill(1, 0));
        say("kill all", kill(-1, 0));
        say("queue", syscall(SYS_rt_sigqueueinfo, 1, SIGUSR1, &(siginfo_t){ .si_code = SI_QUEUE }));
        int fd = syscall(SYS_pidfd_open, 1, 0);
        say("pidfd", syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
        say("getfd", syscall(SYS_pidfd_getfd, fd, 0, 0));
        say("readv", process_vm_readv(1, &local, 1, &remote, 1, 0));
        say("prlimit", prlimit(1, RLIMIT_NOFILE, &limit, NULL));
        say("priority", setpriority(PRIO_PROCESS, 1, 5));
        say("environ", open("/proc/1/environ", O_RDONLY));
        say("mem", open("/proc/1/fd", O_RDONLY));
    }
    if (argc > 1 && !strcmp(argv[1], "filter")) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { 4, code };
        say("mkdir", mkdir("/tmp/before", 0700));
        say("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        say("filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
        say("mkdir", mkdir("/tmp/after", 0700));
        say("rmdir", rmdir("/tmp/before"));
        say("mount", syscall(SYS_mount, 0, 0, 0, 0, 0));
    }
    return 0;
}
