// Every call about processes, signals, scheduling, rights, the machine and what looks into them, in many shapes: what
// `int80 trace` prints of them is compared with strace's lines.  Nothing is left behind, and nothing on the host changes:
// what could, fails for its arguments.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 999999  // beyond pid_max's default of containers, and nobody's where it is larger
#define call(name, ...) syscall(SYS_##name, ##__VA_ARGS__)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void *const bad = (void *)0x10;
static char *edge;  // the end of a readable page, with nothing behind it
static char stack[65536] __attribute__((aligned(16)));

// A copy whose last byte is the last that can be read.
static void *at_edge(const void *data, size_t size)
{
    return memcpy(edge - size, data, size);
}

static void caught(int number)
{
}

static int child_exits(void *status)
{
    call(exit_group, (long)status);
    return 0;
}

static void wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, __WALL) < 0) {
    }
}

// -- signals ----------------------------------------------------------------------------------------

struct kernel_sigaction {
    uint64_t handler, flags, restorer, mask;
};

static void actions(void)
{
    struct kernel_sigaction old, shapes[] = {
        {0, 0, 0, 0},
        {1, 0x14000000, 0x1234, 0},
        {0x401000, 0x14000000, 0x401500, 0},
        {0x401000, 4, 0, UINT64_MAX},
        {0x401000, 0xffffffff, 0x77, 1},
        {0x401000, 0xd8000007, 0, 3},
        {0x401000, 0x1ffffffff, 0, 0x8000000000000000},
        {2, 0x400, 5, 0xfffffffffffffffe},
        {0x401000, 0x800, 0, ~0x100ull},
        {UINT64_MAX, 8, 0, 0x12000},
    };
    for (unsigned i = 0; i < COUNT(shapes); i++) {
        call(rt_sigaction, 36, &shapes[i], &old, 8);
        call(rt_sigaction, 65, &shapes[i], &old, 8);
    }
    call(rt_sigaction, 36, NULL, &old, 8);
    call(rt_sigaction, 36, bad, &old, 8);
    call(rt_sigaction, 36, NULL, bad, 8);
    call(rt_sigaction, 36, NULL, NULL, 7);
    call(rt_sigaction, SIGKILL, &shapes[0], NULL, 8);
    call(rt_sigaction, SIGCHLD, at_edge(&shapes[0], 31), NULL, 8);
    call(rt_sigaction, 36, &shapes[0], NULL, 8);
}

static void masks(void)
{
    static const uint64_t sets[] = {
        0, 1, 2, 3, 0x4000, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX, ~1ull, 1ull << 63, 0xffffffff00000000,
        0x5555555555555555, 0xfffffffe7ffbfeff, 0x180000000, 0x60000000, (1ull << 41) - 1, (1ull << 42) - 1, (1ull << 43) - 1,
    };
    uint64_t old, set = 0x4000;
    for (unsigned i = 0; i < COUNT(sets); i++)
        call(rt_sigprocmask, 3, &sets[i], &old, 8);
    for (int how = -1; how < 4; how++)
        call(rt_sigprocmask, how, &set, &old, 8);
    call(rt_sigprocmask, SIG_SETMASK, NULL, &old, 8);
    call(rt_sigprocmask, SIG_SETMASK, bad, &old, 8);
    call(rt_sigprocmask, SIG_SETMASK, NULL, bad, 8);
    for (unsigned size = 0; size < 18; size += 4)
        if (size != 8) {
            call(rt_sigprocmask, SIG_SETMASK, &set, NULL, size);
            call(rt_sigpending, &old, size);
            call(rt_sigsuspend, &set, size);
            call(signalfd4, -1, &set, size, 0);
        }
    call(rt_sigpending, &old, 8);
    call(rt_sigpending, NULL, 8);
    call(rt_sigpending, bad, 8);
    call(rt_sigsuspend, bad, 8);
    call(rt_sigsuspend, NULL, 8);
    close(call(signalfd, -1, &set, 8));
    close(call(signalfd4, -1, &set, 8, 02004000));
    call(signalfd4, -1, &set, 8, 0xffff);
    call(signalfd4, -1, &set, 8, 1);
    call(signalfd4, -1, bad, 8, 0);
    call(signalfd4, 1000, &set, 8, 0);
    set = 0;
    call(rt_sigprocmask, SIG_SETMASK, &set, NULL, 8);
}

static void sending(void)
{
    static const int numbers[] = {0, SIGUSR1, 32, 33, 64, 65, -1};
    for (unsigned i = 0; i < COUNT(numbers); i++) {
        call(kill, NOBODY, numbers[i]);
        call(tkill, NOBODY, numbers[i]);
        call(tgkill, NOBODY, NOBODY + 1, numbers[i]);
    }
    call(kill, -NOBODY, SIGKILL);
    call(kill, 0x7fffffff, 0);
    call(tkill, -1, 0);
    call(tgkill, -1, 0, 0);
    call(kill, getpid(), 0);

    siginfo_t info;
    static const int codes[] = {SI_USER, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL, -7, -60, -8, SI_KERNEL,
                                1, 2, 3, 4, 5, 6, 9, 14};
    static const int kinds[] = {SIGHUP, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGCHLD, SIGIO, 34, 0};
    for (unsigned i = 0; i < COUNT(kinds); i++)
        for (unsigned j = 0; j < COUNT(codes); j++) {
            memset(&info, 0, sizeof info);
            uint32_t *words = (uint32_t *)&info;
            for (unsigned k = 4; k < 12; k++)
                words[k] = k - 3;
            info.si_signo = kinds[i], info.si_code = codes[j], info.si_errno = j % 3;
            call(rt_sigqueueinfo, NOBODY, SIGUSR1, &info);
        }
    memset(&info, 0, sizeof info);
    info.si_signo = SIGSYS, info.si_code = 1, info.si_call_addr = bad, info.si_syscall = SYS_kill, info.si_arch = 0xc000003e;
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, &info);
    info.si_syscall = 5000;
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, &info);
    info.si_syscall = 4, info.si_arch = 0x40000003;
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, &info);
    memset(&info, 0, sizeof info);
    info.si_signo = SIGUSR1, info.si_code = SI_QUEUE, info.si_pid = 5, info.si_uid = -1;
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, &info);
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, NULL);
    call(rt_sigqueueinfo, NOBODY, SIGUSR1, bad);
    call(rt_tgsigqueueinfo, NOBODY, NOBODY + 1, SIGUSR1, &info);
    call(rt_tgsigqueueinfo, NOBODY, NOBODY + 1, SIGUSR1, at_edge(&info, 100));

    int pidfd = call(pidfd_open, getpid(), 0);
    call(pidfd_send_signal, pidfd, 0, NULL, 0);
    call(pidfd_send_signal, pidfd, 64, bad, 5);
    call(pidfd_send_signal, 999, SIGUSR1, &info, 0);
    close(call(pidfd_getfd, pidfd, 0, 0));
    call(pidfd_getfd, pidfd, -1, 5);
    call(pidfd_getfd, 999, 1, 0);
    close(pidfd);
    close(call(pidfd_open, getpid(), 04000));
    call(pidfd_open, NOBODY, 0);
    call(pidfd_open, -1, 0x41);
}

static void catching(void)
{
    struct sigaction action = {.sa_handler = caught};
    struct timespec now = {0, 0}, soon = {0, 1000000}, wrong = {-1, -1};
    sigset_t set;
    siginfo_t info = {0};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    call(rt_sigpending, &set, 8);
    call(rt_sigtimedwait, &set, &info, &now, 8);
    call(rt_sigtimedwait, &set, &info, &now, 8);
    call(rt_sigtimedwait, &set, NULL, &soon, 8);
    call(rt_sigtimedwait, &set, &info, &wrong, 8);
    call(rt_sigtimedwait, &set, &info, bad, 8);
    call(rt_sigtimedwait, bad, bad, &now, 8);
    call(rt_sigtimedwait, NULL, bad, NULL, 8);
    call(rt_sigtimedwait, &set, &info, NULL, 4);
    info.si_signo = SIGRTMIN, info.si_code = SI_QUEUE, info.si_value.sival_int = 42;
    call(rt_sigqueueinfo, getpid(), SIGRTMIN, &info);
    sigaddset(&set, SIGRTMIN);
    call(rt_sigtimedwait, &set, &info, NULL, 8);
    raise(SIGUSR1);
    sigemptyset(&set);
    call(rt_sigsuspend, &set, 8);
    sigprocmask(SIG_SETMASK, &set, NULL);
    call(alarm, 100);
    call(alarm, UINT32_MAX);
    call(alarm, 0);

    stack_t old, shapes[] = {
        {.ss_sp = (void *)0x500000, .ss_flags = 0, .ss_size = 8192},
        {.ss_sp = NULL, .ss_flags = SS_DISABLE, .ss_size = 0},
        {.ss_sp = (void *)0x600000, .ss_flags = 1 << 31, .ss_size = 32768},
        {.ss_sp = NULL, .ss_flags = 77, .ss_size = -1},
        {.ss_sp = NULL, .ss_flags = SS_DISABLE, .ss_size = 0},
    };
    for (unsigned i = 0; i < COUNT(shapes); i++)
        call(sigaltstack, &shapes[i], &old);
    call(sigaltstack, NULL, &old);
    call(sigaltstack, NULL, NULL);
    call(sigaltstack, bad, bad);
    call(sigaltstack, at_edge(&shapes[0], 23), NULL);
}

// -- processes --------------------------------------------------------------------------------------

static void clones(void)
{
    static const uint64_t wrong[] = {
        0x10000, 0x3d0700, 0x50011, 0x10100, 0x20010200, 0x11000, 0x910005, 0x1311011, 0x7e030200, 0x80010000, 0x410000,
    };
    int parent = 7, child = 9;
    for (unsigned i = 0; i < COUNT(wrong); i++) {
        call(clone, wrong[i], NULL, NULL, NULL, NULL);
        call(clone, wrong[i], bad, &parent, &child, 0x1234);
    }
    int pidfd = -1;
    pid_t pid = clone(child_exits, stack + sizeof stack, CLONE_VM | SIGCHLD, (void *)3);
    wait_for(pid);
    pid = clone(child_exits, stack + sizeof stack, CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, (void *)4,
                &parent, NULL, &child);
    wait_for(pid);
    pid = clone(child_exits, stack + sizeof stack, CLONE_VM | CLONE_PIDFD, (void *)5, &pidfd);
    wait_for(pid);
    close(pidfd);

    struct clone_args args = {.flags = CLONE_THREAD};
    static const unsigned sizes[] = {0, 63, 64, 80, 88, 5000};
    for (unsigned i = 0; i < COUNT(sizes) - 1; i++)
        call(clone3, &args, sizes[i]);
    call(clone3, at_edge(&args, sizeof args), 5000);
    call(clone3, at_edge(&args, 80), 88);
    call(clone3, NULL, 88);
    call(clone3, bad, 88);
    args = (struct clone_args){.flags = 0x13391000, .pidfd = 0x1000, .child_tid = 0x2000, .parent_tid = 0x3000, .exit_signal = 17,
                               .stack = 0x4000, .stack_size = 0x5000, .tls = 0x6000, .set_tid = 0x7000, .set_tid_size = 1, .cgroup = 3};
    call(clone3, &args, sizeof args);
    args = (struct clone_args){.flags = UINT64_MAX, .exit_signal = 1ull << 63};
    call(clone3, &args, sizeof args);
    int wanted[40] = {5, 6};
    args = (struct clone_args){.flags = CLONE_THREAD, .exit_signal = 65, .set_tid = (uint64_t)wanted, .set_tid_size = 2};
    call(clone3, &args, sizeof args);
    args.set_tid_size = 40;
    call(clone3, &args, sizeof args);
    char longer[128] = {0};
    args = (struct clone_args){.flags = CLONE_THREAD | 0x200000000, .cgroup = 9};
    memcpy(longer, &args, sizeof args);
    call(clone3, longer, sizeof longer);
    longer[100] = 1;
    call(clone3, longer, sizeof longer);

    args = (struct clone_args){.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, .pidfd = (uint64_t)&pidfd,
                               .parent_tid = (uint64_t)&parent, .child_tid = (uint64_t)&child, .exit_signal = SIGCHLD};
    if (!(pid = call(clone3, &args, sizeof args)))
        call(exit_group, 6);
    siginfo_t info = {0};
    waitid(3, pidfd, &info, WEXITED);
    close(pidfd);
    args = (struct clone_args){.exit_signal = SIGCHLD};
    if (!(pid = call(clone3, &args, sizeof args)))
        call(exit_group, 7);
    wait_for(pid);
    if (!(pid = call(fork)))
        call(exit, 8);
    wait_for(pid);
    if (!(pid = vfork()))
        _exit(9);
    wait_for(pid);

    call(unshare, 0);
    call(unshare, CLONE_FILES);
    call(unshare, 0x7e020001);
    call(unshare, 0xffffffff);
    call(unshare, 0x91);
    call(unshare, 1ull << 32);
    call(setns, 0, CLONE_NEWNET);
    call(setns, 999, 0);
    call(setns, -1, 0x7e020080);
    call(setns, 0, 0xff);
}

static void executions(void)
{
    char *few[] = {"a", "b b", "\n\1\"", NULL}, *none[] = {NULL}, *cut[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL}, *wrong[] = {"a", bad, NULL};
    char *many[42];
    for (int i = 0; i < 41; i++)
        many[i] = "argument";
    many[41] = NULL;
    char *one[] = {"X=1", NULL};
    call(execve, "/nonexistent", few, one);
    call(execve, "/nonexistent", many, many);
    call(execve, "/nonexistent", cut, none);
    call(execve, "/nonexistent", none, NULL);
    call(execve, "/nonexistent", NULL, NULL);
    call(execve, NULL, bad, bad);
    call(execve, bad, wrong, wrong);
    call(execve, "/nonexistent", at_edge(few, 16), at_edge(one, 8));
    call(execveat, AT_FDCWD, "/nonexistent", few, one, 0x1100);
    call(execveat, 33, "x", few, none, 0xffff);
    call(execveat, 33, "x", few, none, 1);
    call(execveat, 1000, "", few, NULL, 0x1000);
    pid_t pid = fork();
    if (!pid) {
        execve("/bin/true", few, one);
        _exit(127);
    }
    wait_for(pid);
}

static void waits(void)
{
    int status;
    struct rusage usage;
    siginfo_t info = {0};
    call(wait4, -1, &status, 0, NULL);
    call(wait4, 0, &status, WNOHANG, &usage);
    call(wait4, NOBODY, NULL, 0x40000003, NULL);
    call(wait4, -5, bad, 0xffffffff, bad);
    call(waitid, P_ALL, 0, &info, WEXITED, &usage);
    call(waitid, P_PID, NOBODY, &info, WEXITED, NULL);
    call(waitid, P_PGID, NOBODY, NULL, 0x1000005, NULL);
    call(waitid, 3, 999, NULL, WEXITED, NULL);
    call(waitid, 4, -1, bad, 0, bad);

    pid_t pid = fork();
    if (!pid)
        raise(SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    call(wait4, pid, &status, WNOHANG, &usage);
    call(waitid, P_PID, pid, &info, WEXITED | WNOHANG, &usage);
    kill(pid, SIGKILL);
    waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
    call(waitid, P_PID, pid, NULL, WEXITED | WNOWAIT, &usage);
    call(wait4, pid, bad, 0, NULL);
    call(wait4, pid, &status, 0, &usage);
    pid = fork();
    if (!pid)
        call(exit_group, 300);
    call(wait4, pid, &status, 0, &usage);
    pid = fork();
    if (!pid) {
        struct rlimit nothing = {0, 0};
        setrlimit(RLIMIT_CORE, &nothing);
        call(tkill, getpid(), SIGRTMAX);
    }
    call(waitid, P_PID, pid, &info, WEXITED, NULL);
}

static void numbers(void)
{
    call(getpid, 1, 2, 3);
    call(gettid);
    call(getpgrp);
    call(getpgid, 0);
    call(getpgid, -1);
    call(getsid, 0);
    call(getsid, NOBODY);
    call(setpgid, -1, -1);
    call(setpgid, 0, NOBODY);
    pid_t pid = fork();
    if (!pid) {
        call(setpgid, 0, 0);
        call(setsid);
        call(exit_group, 0);
    }
    wait_for(pid);
    pid = fork();
    if (!pid) {
        call(getppid);
        call(setsid);
        call(exit_group, 0);
    }
    wait_for(pid);

    void *head;
    size_t size;
    call(get_robust_list, 0, &head, &size);
    call(get_robust_list, NOBODY, &head, &size);
    call(get_robust_list, 0, NULL, NULL);
    call(get_robust_list, -1, bad, bad);
    call(set_robust_list, NULL, 23);
    call(set_robust_list, 0x1000, 24);
    call(get_robust_list, 0, &head, &size);
    call(set_robust_list, NULL, 24);
    call(set_tid_address, 0x1234);
    call(set_tid_address, 0);
    call(rseq, 0, 0, 0, 0);
    call(rseq, bad, 32, 2, -1);

    static const int barriers[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 3, 0x400, -1};
    for (unsigned i = 0; i < COUNT(barriers); i++)
        call(membarrier, barriers[i], 0, 0);
    call(membarrier, 0, 1, 5);
    call(membarrier, 128, 1, 0);
    call(membarrier, 128, 3, -1);
    for (int kind = -1; kind < 10; kind++)
        call(kcmp, NOBODY, NOBODY + 1, kind, 1, 2);
    uint32_t slot[] = {3, 4, 5};
    call(kcmp, getpid(), getpid(), 7, 1, slot);
    call(kcmp, getpid(), getpid(), 0, 1, 1);
    call(kcmp, getpid(), getpid(), 1, 1, 2);
}

// -- scheduling and limits --------------------------------------------------------------------------

struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t least, most;
    uint64_t later;
};

static void limits(void)
{
    static const uint64_t values[] = {0,         1,          1023,           1024,  1025,   2048, 1536, 1 << 20, UINT64_MAX - 1,
                                      UINT64_MAX, 1ull << 63, (1ull << 63) - 1, 1ull << 40};
    uint64_t limit[2];
    for (int resource = -1; resource < 17; resource++)
        if (resource != RLIMIT_NPROC && resource != RLIMIT_SIGPENDING)
            call(getrlimit, resource, limit);
    for (unsigned i = 0; i < COUNT(values); i++) {
        limit[0] = values[i], limit[1] = UINT64_MAX;
        call(setrlimit, 99, limit);
    }
    call(getrlimit, RLIMIT_NOFILE, NULL);
    call(getrlimit, RLIMIT_NOFILE, bad);
    call(setrlimit, RLIMIT_NOFILE, bad);
    call(setrlimit, 99, NULL);
    limit[0] = 100000, limit[1] = 1;
    call(prlimit64, 0, RLIMIT_NOFILE, limit, limit);
    call(prlimit64, 0, RLIMIT_STACK, NULL, limit);
    call(prlimit64, 0, RLIMIT_STACK, limit, NULL);
    call(prlimit64, 0, RLIMIT_STACK, NULL, NULL);
    call(prlimit64, NOBODY, RLIMIT_CPU, NULL, bad);
    call(prlimit64, -1, RLIMIT_CPU, bad, NULL);
    struct rusage usage;
    for (int who = -3; who < 3; who++)
        call(getrusage, who, &usage);
    call(getrusage, RUSAGE_SELF, NULL);
    call(getrusage, RUSAGE_SELF, bad);
    call(times, bad);
}

static void policies(void)
{
    struct attributes found, shapes[] = {
        {48, 0, 0, 5, 0, 0, 0, 0},
        {56, 1, 1, 5, 3, 0, 0, 0, 7, 8},
        {56, 2, 0x7f, -5, 3, 0, 0, 0, 7, 8},
        {48, 6, 0xff, 5, 3, 100, 200, 300},
        {0, 3, 0x80, 5, 0, 1, 0, 0},
        {47, 3},
        {4, 3},
        {64, 5, 0x60, 5, 0, 1, 0, 0, 5, 6, 1},
        {64, 5, 0, 5, 0, 1, 0, 0, 5, 6, 0},
        {52, 7, 0x20, 5, 9},
    };
    for (unsigned i = 0; i < COUNT(shapes); i++)
        call(sched_setattr, NOBODY, &shapes[i], i % 3);
    call(sched_setattr, NOBODY, NULL, 0);
    call(sched_setattr, NOBODY, bad, 0);
    static const unsigned sizes[] = {56, 48, 47, 0, 52, 64};
    for (unsigned i = 0; i < COUNT(sizes); i++)
        call(sched_getattr, 0, &found, sizes[i], 0);
    call(sched_getattr, 0, &found, 56, 1);
    call(sched_getattr, 0, NULL, 56, 0);
    call(sched_getattr, -1, bad, 0x80000000, 9);
    int parameter = 5;
    static const int kinds[] = {0, 1, 2, 3, 4, 5, 6, 7, 0x40000000, 0x40000002, -1};
    for (unsigned i = 0; i < COUNT(kinds); i++) {
        call(sched_setscheduler, NOBODY, kinds[i], &parameter);
        call(sched_get_priority_max, kinds[i]);
        call(sched_get_priority_min, kinds[i]);
    }
    call(sched_setscheduler, 0, 0, NULL);
    call(sched_setscheduler, 0, 0, bad);
    call(sched_getscheduler, 0);
    call(sched_getscheduler, -1);
    call(sched_setparam, 0, &parameter);
    call(sched_setparam, 0, NULL);
    call(sched_setparam, 0, bad);
    call(sched_getparam, 0, &parameter);
    call(sched_getparam, 0, NULL);
    call(sched_getparam, -1, &parameter);
    struct timespec interval;
    call(sched_rr_get_interval, -1, &interval);
    call(sched_rr_get_interval, 0, NULL);
    call(sched_yield);

    uint64_t mask[16] = {0x8000000000000005};
    static const unsigned lengths[] = {0, 1, 4, 8, 16, 128};
    for (unsigned i = 0; i < COUNT(lengths); i++)
        call(sched_setaffinity, NOBODY, lengths[i], mask);
    call(sched_setaffinity, NOBODY, 8, NULL);
    call(sched_setaffinity, NOBODY, 8, bad);
    call(sched_getaffinity, 0, 4, mask);
    call(sched_getaffinity, NOBODY, 8, mask);
    call(sched_getaffinity, 0, 128, NULL);
    call(sched_getaffinity, 0, 128, bad);

    for (int which = -1; which < 4; which++) {
        call(getpriority, which, NOBODY);
        call(setpriority, which, NOBODY, -5);
        call(ioprio_get, which + 2, NOBODY);
        call(ioprio_set, which + 2, NOBODY, 0x2004);
    }
    call(getpriority, PRIO_PROCESS, 0);
    call(setpriority, PRIO_PROCESS, 0, 0);
    static const unsigned wishes[] = {0, 1, 0x2000, 0x4004, 0x6007, 0x8003, 0x20004004, 0x80000000, UINT32_MAX, 0x3fff};
    for (unsigned i = 0; i < COUNT(wishes); i++)
        call(ioprio_set, 1, NOBODY, wishes[i]);
    call(ioprio_set, 1, 0, 0x4005);
    call(ioprio_get, 1, 0);
    call(getcpu, NULL, NULL, NULL);
    call(getcpu, bad, NULL, bad);
}

// -- rights -----------------------------------------------------------------------------------------

static void identities(void)
{
    unsigned ids[3], many[70];
    for (int i = 0; i < 70; i++)
        many[i] = i ? i : UINT32_MAX;
    call(getuid);
    call(geteuid);
    call(getgid);
    call(getegid);
    call(setuid, -1);
    call(setgid, -1);
    call(setfsuid, -1);
    call(setfsgid, -1);
    call(setreuid, -1, -1);
    call(setregid, -1, -1);
    call(setresuid, -1, -1, -1);
    call(setresgid, -1, -1, -1);
    call(getresuid, &ids[0], &ids[1], &ids[2]);
    call(getresuid, &ids[0], &ids[1], bad);
    call(getresgid, &ids[0], &ids[1], &ids[2]);
    call(getresgid, NULL, NULL, NULL);
    call(getgroups, 0, NULL);
    call(getgroups, 70, many);
    call(getgroups, -1, NULL);
    call(getgroups, 70, bad);
    call(setgroups, 3, bad);
    call(setgroups, -1, NULL);
    call(setgroups, 65537, many);
    call(setgroups, 70, many);
    call(setgroups, 70, at_edge(many, 40));
    call(setgroups, 2, many);
}

static void capabilities(void)
{
    static const uint32_t versions[] = {0x20080522, 0x20071026, 0x19980330, 77};
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[2] = {{1, 0x80, 3}, {0x1ff, UINT32_MAX, 1u << 30}}, none[2] = {{0}};
    for (unsigned i = 0; i < COUNT(versions); i++) {
        header = (struct __user_cap_header_struct){versions[i], 0};
        call(capget, &header, none);
        header = (struct __user_cap_header_struct){versions[i], NOBODY};
        call(capset, &header, data);
        header = (struct __user_cap_header_struct){versions[i], NOBODY};
        call(capget, &header, data);
    }
    memset(none, 0, sizeof none);
    header = (struct __user_cap_header_struct){versions[0], NOBODY};
    call(capset, &header, none);
    call(capset, &header, bad);
    call(capset, &header, NULL);
    call(capset, bad, bad);
    call(capset, NULL, NULL);
    call(capget, bad, bad);
    call(capget, NULL, data);
}

static void filters(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 1, 0), BPF_STMT(BPF_RET | BPF_K, 0x7fff0000),
        BPF_STMT(BPF_RET | BPF_K, 0x50026), BPF_STMT(0xffff, 0),
    };
    struct sock_fprog program = {COUNT(code), code}, empty = {0, NULL}, lost = {5, bad};
    call(seccomp, 0, 5, NULL);
    call(seccomp, 1, 0xff, bad);
    call(seccomp, 1, 0x13, &program);
    call(seccomp, 1, 0, &empty);
    call(seccomp, 1, 0, &lost);
    call(seccomp, 1, 0, NULL);
    static const uint32_t actions[] = {0x80000000, 0, 0x30000, 0x50000, 0x7fc00000, 0x7ff00000, 0x7ffc0000, 0x7fff0000, 5, 0x50001};
    for (unsigned i = 0; i < COUNT(actions); i++)
        call(seccomp, 2, 0, &actions[i]);
    call(seccomp, 2, 1, bad);
    uint16_t sizes[3];
    call(seccomp, 3, 0, sizes);
    call(seccomp, 3, 0, bad);
    call(seccomp, 4, 0, NULL);

    struct {
        uint64_t access, more;
    } rules = {0x1fff, 0};
    struct __attribute__((packed)) {
        uint64_t access;
        int32_t fd;
    } beneath = {7, 5};
    call(landlock_create_ruleset, NULL, 0, 1);
    close(call(landlock_create_ruleset, &rules, 8, 0));
    rules.access = 3;
    call(landlock_create_ruleset, &rules, 16, 2);
    call(landlock_create_ruleset, &rules, 4, 0);
    call(landlock_create_ruleset, bad, 8, 0);
    call(landlock_create_ruleset, NULL, 5, 3);
    call(landlock_add_rule, 999, 1, &beneath, 0);
    call(landlock_add_rule, -1, 3, bad, 9);
    call(landlock_add_rule, 999, 1, bad, 9);
    call(landlock_restrict_self, -1, 0);
    call(landlock_restrict_self, 999, 1);
}

static void keys(void)
{
    char text[] = "payload payload payload payload payload";
    for (int operation = 0; operation < 34; operation++)
        if (operation != 1 && operation != 18)
            call(keyctl, operation, NOBODY, 2, 3, 4);
    call(keyctl, 0, -1, 0);
    call(keyctl, 1, bad);
    call(keyctl, 2, NOBODY, text, sizeof text);
    call(keyctl, 4, 1, 0, -1);
    call(keyctl, 5, NOBODY, 0x3f3f0000);
    call(keyctl, 5, 1, -1);
    call(keyctl, 6, NOBODY, text, 8);
    call(keyctl, 10, -2, "user", "description", -3);
    call(keyctl, 12, NOBODY, "inst", 4, -1);
    call(keyctl, 14, 99);
    call(keyctl, 19, NOBODY, 60, 126, 0);
    call(keyctl, 22, -5, -6);
    call(keyctl, 29, NOBODY, "asymmetric", "x");
    call(keyctl, 30, 1, 2, 255, 0);
    call(keyctl, 31, text, 8);
    call(keyctl, 99, 1, 0, -1, 0);
    call(add_key, "user", "", text, sizeof text, -3);
    call(add_key, "user", "description", text, 7, NOBODY);
    call(add_key, NULL, bad, bad, 7, -1);
    call(add_key, "bogus", "description", NULL, 0, -9);
    call(request_key, "bogus type", "int80 test", "info", -4);
    call(request_key, bad, NULL, bad, -7);
    call(getrandom, bad, 8, 1);
    call(getrandom, text, 0, 7);
    call(getrandom, text, 8, 8);
    call(getrandom, NULL, 1, 0xff);
}

// -- the machine ------------------------------------------------------------------------------------

static void machine(void)
{
    static const unsigned kinds[] = {0x40000, UINT32_MAX, 8, 0x40008, 0x4000006, 0x8f70004, 0xff, 0x1a00000, 0x80000000, 5, 0};
    for (unsigned i = 0; i < COUNT(kinds); i++)
        call(personality, kinds[i]);
    char name[400] = "a name";
    call(uname, name);
    call(uname, NULL);
    call(uname, bad);
    call(sethostname, name, 65);
    call(sethostname, bad, 5);
    call(sethostname, NULL, -1);
    call(setdomainname, name, 0x80000000);
    call(setdomainname, bad, 10);
    call(sysinfo, NULL);
    call(sysinfo, bad);
    static const int actions[] = {0, 1, 11, -1};
    for (unsigned i = 0; i < COUNT(actions); i++)
        call(syslog, actions[i], name, 9);
    call(syslog, 2, name, -1);
    call(syslog, 3, NULL, 80);
    call(syslog, 4, NULL, -1);
    call(syslog, 8, name, 0);
    call(syslog, 8, name, 9);
    static const unsigned magic[] = {672274793, 85072278, 369367448, 537993216, 7};
    static const unsigned commands[] = {0x1234567, 0, 0x89abcdef, 0xa1b2c3d4, 0x4321fedc, 0xcdef0123, 0x45584543, 0xd000fce2, 7};
    for (unsigned i = 0; i < COUNT(magic); i++)
        for (unsigned j = 0; j < COUNT(commands); j++)
            call(reboot, 0xdead, magic[i], commands[j], "hello");
    call(reboot, 0xfee1dead, 7, 0xa1b2c3d4, bad);
    call(init_module, bad, 5, "option=1");
    call(init_module, NULL, 0, NULL);
    call(finit_module, -1, "option=1", 3);
    call(finit_module, 999, bad, 8);
    call(delete_module, "int80_no_such_module", 04000);
    call(delete_module, bad, 0xffffff);
    uint64_t segments[] = {0x1000, 2, 0x3000, 4, 5, 6, 7, 8};
    call(kexec_load, 0x1000, 1, bad, 0xffff);
    call(kexec_load, NULL, 17, segments, 0x3e0001);
    call(kexec_load, 1, 2, segments, 0x80004);
    call(kexec_file_load, -1, -1, 4, "abc", 0xff);
    call(kexec_file_load, 999, 998, 0, NULL, 2);
    unsigned entry[4] = {8192, 0x1000, 0xffff, 0x7f};
    call(modify_ldt, 1, entry, 16);
    call(modify_ldt, 1, entry, 15);
    call(modify_ldt, 1, bad, 16);
    call(modify_ldt, 99, NULL, 5);
    call(set_thread_area, entry);
    call(get_thread_area, entry);
    call(set_thread_area, NULL);
    call(get_thread_area, bad);
    call(iopl, 4);
    call(ioperm, 0x70000, 2, 0);
}

// -- looking into others ----------------------------------------------------------------------------

static void looking(void)
{
    for (int request = 1; request < 34; request++)
        if (request != 15)
            call(ptrace, request, NOBODY, 0x1000, 0x2000);
    for (int request = 0x4200; request < 0x4210; request++)
        call(ptrace, request, NOBODY, 0x1000, 0x2000);
    static const unsigned offsets[] = {0, 8, 120, 121, 200, 216, 224, 300, 736, 816, 848, 900, 912, 920};
    for (unsigned i = 0; i < COUNT(offsets); i++)
        call(ptrace, 6, NOBODY, offsets[i], 5);
    uint64_t registers[27] = {1, 0, 0x4000}, set[] = {0x1000, 216}, one = 0x4000;
    siginfo_t info = {.si_signo = SIGCHLD, .si_code = 1};
    call(ptrace, 13, NOBODY, 0, registers);
    call(ptrace, 24, NOBODY, 1, SIGTRAP);
    call(ptrace, 0x4200, NOBODY, 0, 0x1010ff);
    call(ptrace, 0x4203, NOBODY, 0, &info);
    call(ptrace, 0x4205, NOBODY, 1, set);
    call(ptrace, 0x4204, NOBODY, 0x202, bad);
    call(ptrace, 0x420b, NOBODY, 8, &one);
    call(ptrace, 0x4209, NOBODY, &(uint64_t[]){1, 1 | 4ull << 32}, 0x2000);
    call(ptrace, -1, NOBODY, 1, 2);

    char text[] = "some text of this process, more than thirty-two bytes", copy[80];
    struct iovec here[] = {{copy, 6}, {copy + 6, 60}}, there[] = {{text, 10}, {text + 10, sizeof text - 10}};
    call(process_vm_readv, getpid(), here, 2, there, 2, 0);
    call(process_vm_writev, getpid(), there, 2, here, 2, 0);
    call(process_vm_readv, NOBODY, here, 2, there, 2, 0);
    call(process_vm_readv, NOBODY, here, 1, bad, 1, 5);
    call(process_vm_writev, NOBODY, there, 1, here, 1, 0);
    call(process_vm_writev, -1, bad, 1, NULL, 3, -1);
    call(process_madvise, -1, here, 1, 20, 0);
    call(process_madvise, 999, bad, 1, 98, 5);
    call(process_mrelease, -1, 0);
    call(process_mrelease, 999, 5);

    struct perf_event_attr event = {.size = 64, .type = PERF_TYPE_SOFTWARE, .sample_period = 1000, .sample_type = 3, .read_format = 4,
                                    .disabled = 1, .freq = 1, .precise_ip = 2};
    call(perf_event_open, &event, 99, 5, 99, 9);
    for (unsigned type = 0; type < 7; type++) {
        event = (struct perf_event_attr){.size = 112, .type = type, .config = 0x10102};
        call(perf_event_open, &event, 99, 5, 99, 0x10);
        event.config = 1;
        call(perf_event_open, &event, 99, 5, 99, 0);
    }
    call(perf_event_open, bad, 99, 5, 99, 8);
    call(perf_event_open, NULL, 99, 5, -1, 0);

    union {
        union bpf_attr attr;
        uint32_t words[32];
    } u;
    for (int command = -1; command < 37; command++) {
        memset(&u, 0, sizeof u);
        for (int i = 0; i < 8; i++)
            u.words[i] = 99;
        if (command != 0 && command != 5 && command != 11 && command != 12 && command != 23 && command != 31)
            call(bpf, command, &u, 48);
    }
    memset(&u, 0, sizeof u);
    u.attr.map_type = 33, u.attr.key_size = 4, u.attr.value_size = 8, u.attr.map_flags = 0x1004, u.attr.numa_node = 1;
    memcpy(u.attr.map_name, "name\"x", 6);
    call(bpf, BPF_MAP_CREATE, &u, 72);
    call(bpf, BPF_MAP_CREATE, &u, 128);
    call(bpf, BPF_MAP_CREATE, &u, 3);
    u.words[31] = 1;
    call(bpf, BPF_MAP_CREATE, &u, 128);
    memset(&u, 0, sizeof u);
    u.attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, u.attr.license = (uint64_t) "GPL", u.attr.kern_version = 0x30201;
    call(bpf, BPF_PROG_LOAD, &u, 48);
    call(bpf, BPF_PROG_LOAD, &u, 128);
    call(bpf, BPF_PROG_LOAD, NULL, 72);
    call(bpf, BPF_MAP_CREATE, bad, 72);
}

int main(void)
{
    edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + 4096, 4096);
    edge += 4096;
    actions();
    masks();
    sending();
    catching();
    clones();
    executions();
    waits();
    numbers();
    limits();
    policies();
    identities();
    capabilities();
    filters();
    keys();
    machine();
    looking();
    return 0;
}
