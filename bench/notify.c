/*
 * What one answer by seccomp user notification costs at the least, with nothing in the supervisor but RECV and SEND.
 *
 *     notify COUNT     prints nanoseconds for one round trip, then 1 if the kernel has SYNC_WAKE_UP, else 0
 *
 * The child shares its descriptor table with the parent, so the listener that it makes is the parent's too and needs
 * no passing. Works as any user: no_new_privs is all that a filter asks for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* Linux 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

#define BATCHES 16 /* as in calls.c */

static int fail(const char *what)
{
    fprintf(stderr, "notify: %s: %s\n", what, strerror(errno));
    return 1;
}

static int filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The child: says over `ready` which descriptor the listener is, and leaves its figure in `figure`. */
static void ask(long batches, long each, long warm, int ready, double *figure)
{
    int listener = filter();
    double start, figures[BATCHES];
    long batch, i;

    if (listener < 0)
        fail("no filter with a listener");
    if (write(ready, &listener, sizeof listener) != sizeof listener)
        _exit(fail("write"));
    if (listener < 0)
        _exit(1);
    for (i = 0; i < warm; i++)
        syscall(SYS_getppid);
    for (batch = 0; batch < batches; batch++) {
        start = now();
        for (i = 0; i < each; i++)
            syscall(SYS_getppid);
        figures[batch] = (now() - start) / each;
    }
    qsort(figures, batches, sizeof *figures, order);
    *figure = figures[batches / 2];
    _exit(0);
}

static int serve(int listener, long count)
{
    /* The kernel copies structures of its own size, which a later kernel may make larger. */
    union {
        struct seccomp_notif call;
        char room[512];
    } request;
    union {
        struct seccomp_notif_resp answer;
        char room[512];
    } reply;

    while (count--) {
        memset(&request, 0, sizeof request);
        memset(&reply, 0, sizeof reply);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request))
            return fail("RECV");
        reply.answer.id = request.call.id;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply))
            return fail("SEND");
    }
    return 0;
}

int main(int argc, char **argv)
{
    long count = argc == 2 ? atol(argv[1]) : 0, warm = count / 10 + 1;
    long batches = count < BATCHES ? count : BATCHES, each = batches > 0 ? count / batches : 0;
    int ready[2], listener, synchronous, status;
    double *figure = mmap(NULL, sizeof *figure, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;

    if (count < 1) {
        fprintf(stderr, "usage: notify COUNT\n");
        return 2;
    }
    if (figure == MAP_FAILED || pipe(ready))
        return fail("no memory or no pipe");
    child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child < 0)
        return fail("clone");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ask(batches, each, warm, ready[1], figure);
    }
    if (read(ready[0], &listener, sizeof listener) != sizeof listener || listener < 0)
        return 1; /* the child has said why */
    synchronous = !ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    if (serve(listener, warm + batches * each))
        return 1;
    if (waitpid(child, &status, 0) != child || status)
        return fail("the child");
    printf("%.3f %d\n", *figure, synchronous);
    return 0;
}
