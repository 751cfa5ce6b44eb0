/* Signals in every form: a transcript to compare with the kernel's own.  Processes are named by what they are to the
   one that tells, never by number.  Run in an empty directory that can be written. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static pid_t first, child; /* the program's own process, and the child of the moment */
static volatile sig_atomic_t got;
static siginfo_t last;
static char *stack_low;

static const char *who(pid_t pid)
{
    return pid == 0 ? "nobody" : pid == getpid() ? "me" : pid == first ? "first" : pid == getppid() ? "parent" :
           pid == child ? "child" : "somebody";
}

static const char *error(long result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static const char *code(int number, int code)
{
    static char text[32];
    switch (code) {
    case SI_USER: return "SI_USER";
    case SI_QUEUE: return "SI_QUEUE";
    case SI_TKILL: return "SI_TKILL";
    case SI_TIMER: return "SI_TIMER";
    case SI_KERNEL: return "SI_KERNEL";
    }
    sprintf(text, "code %d", code);
    return text;
}

static void tell(const char *what, const siginfo_t *info)
{
    printf("%s: signal %d %s", what, info->si_signo, code(info->si_signo, info->si_code));
    if (info->si_signo == SIGCHLD && info->si_code > 0)
        printf(" from %s uid %s status %d", who(info->si_pid), info->si_uid == getuid() ? "mine" : "other", info->si_status);
    else if (info->si_code == SI_TIMER)
        printf(" value %d overrun %d", info->si_value.sival_int, info->si_overrun);
    else if (info->si_code <= 0)
        printf(" from %s uid %s value %d", who(info->si_pid), info->si_uid == getuid() ? "mine" : "other", info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
    printf("\n");
}

static void handler(int number, siginfo_t *info, void *context)
{
    got = number;
    last = *info;
}

static void on_stack(int number, siginfo_t *info, void *context)
{
    char here;
    stack_t now;
    sigaltstack(NULL, &now);
    got = &here >= stack_low && &here < stack_low + 65536 ? 1 : -1;
    last = *info;
    last.si_errno = now.ss_flags;
}

static void catch(int number, int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigaction(number, &action, NULL);
}

static void block(int how, int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(how, &set, NULL);
}

/* A child that sleeps until it is killed. */
static pid_t sleeper(void)
{
    fflush(stdout);
    child = fork();
    if (!child)
        for (;;)
            pause();
    return child;
}

static int asleep(pid_t pid)
{
    char name[64], text[512] = "";
    sprintf(name, "/proc/self/task/%d/stat", pid);
    if (access(name, F_OK))
        sprintf(name, "/proc/%d/stat", pid);
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return 0;
    read(fd, text, sizeof text - 1);
    close(fd);
    char *end = strrchr(text, ')');
    return end && end[2] == 'S';
}

static void end(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static void status(const char *what, int status)
{
    printf("%s:", what);
    if (WIFEXITED(status)) printf(" exit %d", WEXITSTATUS(status));
    if (WIFSIGNALED(status)) printf(" signal %d core %d", WTERMSIG(status), !!WCOREDUMP(status));
    if (WIFSTOPPED(status)) printf(" stopped %d", WSTOPSIG(status));
    if (WIFCONTINUED(status)) printf(" continued");
    printf("\n");
}

static void senders(void)
{
    catch(SIGUSR1, 0);
    kill(getpid(), SIGUSR1);
    tell("kill", &last);
    raise(SIGUSR1);
    tell("raise", &last);
    syscall(SYS_tkill, syscall(SYS_gettid), SIGUSR1);
    tell("tkill", &last);
    union sigval value = {.sival_int = 77};
    printf("sigqueue %s\n", error(sigqueue(getpid(), SIGUSR1, value)));
    tell("sigqueue", &last);
    pthread_sigqueue(pthread_self(), SIGUSR1, value);
    tell("pthread_sigqueue", &last);
    killpg(0, 0);
    catch(SIGCHLD, 0);
    block(SIG_BLOCK, SIGUSR1);
    fflush(stdout);
    if (!(child = fork())) {
        kill(getppid(), SIGUSR1);
        sigqueue(getppid(), SIGUSR2, value);
        _exit(3);
    }
    while (waitpid(child, NULL, 0) < 0)
        ;
    tell("a child's end", &last);
    signal(SIGCHLD, SIG_DFL);
    /* a child's children are told who their parent is */
    fflush(stdout);
    if (!(child = fork())) {
        int pipes[2];
        char byte;
        pipe(pipes);
        block(SIG_BLOCK, SIGUSR2);
        if (!fork()) {
            kill(getppid(), SIGUSR2);
            kill(first, SIGWINCH);
            printf("  a grandchild's parent is %s, and not first: %d\n", who(getppid()), getppid() != first);
            fflush(stdout);
            _exit(0);
        }
        wait(NULL);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("kill nobody %s, bad signal %s, bad group %s, signal 0 %s\n", error(kill(0x3ffffff, 9)), error(kill(getpid(), 65)),
           error(kill(-0x3ffffff, 9)), error(kill(getpid(), 0)));
    printf("tgkill other group %s, 0 %s, -1 %s\n", error(syscall(SYS_tgkill, getpid(), 0x3ffffff, 0)),
           error(syscall(SYS_tgkill, 0, getpid(), 0)), error(syscall(SYS_tgkill, -1, getpid(), 0)));
    printf("tkill 0 %s\n", error(syscall(SYS_tkill, 0, 0)));
    siginfo_t info = {.si_code = SI_USER};
    pid_t other = sleeper();
    printf("forged %s\n", error(syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, &info)));
    printf("forged to itself %s\n", error(syscall(SYS_rt_sigqueueinfo, getpid(), SIGWINCH, &info)));
    end(other);
    printf("gone %s\n", error(kill(other, 0)));
}

static void read_from(const char *what, const struct signalfd_siginfo *info)
{
    printf("%s: %d code %d value %d from %s uid %s status %d\n", what, info->ssi_signo, info->ssi_code,
           info->ssi_code == SI_QUEUE ? info->ssi_int : 0, who(info->ssi_pid), info->ssi_uid == getuid() ? "mine" : "other",
           info->ssi_signo == SIGCHLD ? info->ssi_status : 0);
}

static void queue(void)
{
    sigset_t set;
    siginfo_t info;
    struct timespec none = {0, 0}, moment = {0, 1000000};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 1);
    sigaddset(&set, SIGRTMIN + 2);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 3; i++) {
        union sigval value = {.sival_int = i};
        sigqueue(getpid(), SIGRTMIN + 2, value);
        sigqueue(getpid(), SIGRTMIN + 1, value);
        kill(getpid(), SIGUSR1);
    }
    while (sigtimedwait(&set, &info, &none) > 0)
        tell("queued", &info);
    printf("empty %s\n", error(sigtimedwait(&set, &info, &moment)));
    printf("without a place %s\n", error((kill(getpid(), SIGUSR1), sigtimedwait(&set, NULL, &none))));
    printf("a wild place %s\n", error((kill(getpid(), SIGUSR1), syscall(SYS_rt_sigtimedwait, &set, 16, &none, 8))));
    fflush(stdout);
    if (!(child = fork()))
        _exit(9);
    sigwaitinfo(&set, &info);
    tell("sigwaitinfo", &info);
    waitpid(child, NULL, 0);
    if (!(child = fork())) {
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    sigtimedwait(&set, &info, &none);
    tell("by one who has ended", &info);
    sigtimedwait(&set, &info, &none);
    int number;
    kill(getpid(), SIGUSR1);
    sigwait(&set, &number);
    printf("sigwait %d\n", number);
    catch(SIGALRM, 0);
    struct itimerval soon = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    printf("interrupted %s\n", error(sigwaitinfo(&set, &info)));
    tell("alarm", &last);

    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    struct signalfd_siginfo read_info;
    struct pollfd wanted = {fd, POLLIN};
    printf("signalfd %s poll %d\n", error(fd), poll(&wanted, 1, 0));
    union sigval value = {.sival_int = 5};
    sigqueue(getpid(), SIGRTMIN + 1, value);
    printf("poll %d\n", poll(&wanted, 1, 1000));
    read(fd, &read_info, sizeof read_info);
    read_from("signalfd", &read_info);
    kill(getpid(), SIGUSR1);
    read(fd, &read_info, sizeof read_info);
    read_from("signalfd", &read_info);
    fflush(stdout);
    if (!(child = fork())) {
        struct signalfd_siginfo both[3];
        kill(getppid(), SIGUSR1);
        while (poll(&wanted, 1, -1) != 1)
            ;
        printf("two of %d\n", (int)read(fd, both, sizeof both) / (int)sizeof *both);
        read_from("a child's", both);
        fflush(stdout);
        _exit(3);
    }
    fcntl(fd, F_SETFL, 0);
    read(fd, &read_info, sizeof read_info);
    read_from("signalfd", &read_info);
    kill(child, SIGUSR1);
    read(fd, &read_info, sizeof read_info);
    read_from("signalfd", &read_info);
    waitpid(child, NULL, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    printf("wild %s\n", error((kill(getpid(), SIGUSR1), read(fd, (void *)16, 128))));
    sigtimedwait(&set, &info, &none);
    printf("signalfd empty %s\n", error(read(fd, &read_info, sizeof read_info)));
    close(fd);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void *timed(void *unused)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 3};
    event._sigev_un._tid = syscall(SYS_gettid);
    event.sigev_value.sival_int = 12;
    timer_t timer;
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    printf("timer for a thread %s\n", error(timer_create(CLOCK_MONOTONIC, &event, &timer)));
    printf("  its thread is still named %d\n", event._sigev_un._tid == syscall(SYS_gettid));
    struct itimerspec soon = {{0, 0}, {0, 1000000}};
    timer_settime(timer, 0, &soon, NULL);
    sigwaitinfo(&set, &info);
    tell("thread timer", &info);
    timer_delete(timer);
    return NULL;
}

static void notified(union sigval value)
{
    got = value.sival_int;
}

static void timers(void)
{
    pthread_t thread;
    timed(NULL);
    pthread_create(&thread, NULL, timed, NULL);
    pthread_join(thread, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    timer_t timer;
    event._sigev_un._tid = 0x3ffffff;
    printf("timer for a stranger %s\n", error(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer)));
    printf("timer of a wild event %s\n", error(syscall(SYS_timer_create, CLOCK_MONOTONIC, 16, &timer)));
    printf("timer of no clock %s\n", error(syscall(SYS_timer_create, 99, NULL, &timer)));
    struct itimerspec soon = {{0, 0}, {0, 1000000}};
    struct sigevent called = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notified, .sigev_value.sival_int = 41};
    got = 0;
    timer_create(CLOCK_MONOTONIC, &called, &timer);
    timer_settime(timer, 0, &soon, NULL);
    while (!got)
        usleep(1000);
    printf("timer's function %d\n", got);
    timer_delete(timer);
    catch(SIGALRM, 0);
    got = 0;
    timer_create(CLOCK_REALTIME, NULL, &timer);
    timer_settime(timer, 0, &soon, NULL);
    while (!got)
        pause();
    printf("timer without event: signal %d %s\n", last.si_signo, code(0, last.si_code));
    timer_delete(timer);
    got = 0;
    ualarm(2000, 0);
    while (!got)
        pause();
    tell("ualarm", &last);
}

static pid_t main_thread;

static void *killer(void *who)
{
    while (!asleep(main_thread))
        usleep(1000);
    pthread_kill(*(pthread_t *)who, SIGUSR1);
    return NULL;
}

/* A signal to this thread while it is in a call: EINTR, or a restart, after which the helper ends it. */
#define INTERRUPTED(name, flags, call)                                              \
    do {                                                                            \
        pthread_t me = pthread_self(), thread;                                      \
        catch(SIGUSR1, flags);                                                      \
        got = 0;                                                                    \
        pthread_create(&thread, NULL, killer, &me);                                 \
        errno = 0;                                                                  \
        long result = call;                                                         \
        printf("%s %s: %s, handled %d\n", name, flags ? "restart" : "plain", error(result), got == SIGUSR1); \
        pthread_join(thread, NULL);                                                 \
    } while (0)

static void *late_writer(void *name)
{
    while (got != SIGUSR1 || !asleep(main_thread))
        usleep(1000);
    return (void *)(long)open(name, O_WRONLY);
}

static void interruptions(void)
{
    int pipes[2];
    char byte;
    pipe(pipes);
    main_thread = syscall(SYS_gettid);
    mkfifo("fifo", 0600);
    struct timespec long_time = {5, 0};
    struct pollfd wanted = {pipes[0], POLLIN};
    int epoll = epoll_create1(0);
    INTERRUPTED("read", 0, read(pipes[0], &byte, 1));
    INTERRUPTED("nanosleep", 0, nanosleep(&long_time, NULL));
    INTERRUPTED("nanosleep", SA_RESTART, nanosleep(&long_time, NULL));
    INTERRUPTED("poll", 0, poll(&wanted, 1, 5000));
    INTERRUPTED("poll", SA_RESTART, poll(&wanted, 1, 5000));
    INTERRUPTED("select", SA_RESTART, select(0, NULL, NULL, NULL, &(struct timeval){5, 0}));
    INTERRUPTED("epoll", SA_RESTART, epoll_wait(epoll, &(struct epoll_event){0}, 1, 5000));
    INTERRUPTED("pause", SA_RESTART, pause());
    INTERRUPTED("open of a fifo", 0, open("fifo", O_RDONLY));
    int ends[2], streams[2], none = msgget(IPC_PRIVATE, 0600), down = semget(IPC_PRIVATE, 1, 0600);
    char much[4000] = "";
    struct iovec part = {much, sizeof much};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct sockaddr_un place = {AF_UNIX, "\0signal-forms"};
    struct sembuf operation = {0, -1, 0};
    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, streams);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client;
    INTERRUPTED("recv", 0, recv(ends[0], much, 1, 0));
    INTERRUPTED("recvmsg", 0, recvmsg(ends[0], &message, 0));
    while (send(ends[0], much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    while (send(streams[0], much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    INTERRUPTED("send", 0, send(ends[0], much, sizeof much, 0));
    INTERRUPTED("send of a stream", 0, send(streams[0], much, sizeof much, 0));
    INTERRUPTED("sendto", 0, sendto(ends[0], much, sizeof much, 0, NULL, 0));
    INTERRUPTED("sendmsg", 0, sendmsg(ends[0], &message, 0));
    INTERRUPTED("sendmsg of a stream", 0, sendmsg(streams[0], &message, 0));
    INTERRUPTED("write", 0, write(streams[0], much, sizeof much));
    bind(listener, (void *)&place, sizeof place);
    listen(listener, 1);
    INTERRUPTED("accept", 0, accept(listener, NULL, NULL));
    do
        client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    while (!connect(client, (void *)&place, sizeof place));
    fcntl(client, F_SETFL, 0);
    INTERRUPTED("connect", 0, connect(client, (void *)&place, sizeof place));
    INTERRUPTED("msgrcv", SA_RESTART, msgrcv(none, much, 8, 0, 0));
    INTERRUPTED("semop", SA_RESTART, semop(down, &operation, 1));
    msgctl(none, IPC_RMID, NULL);
    semctl(down, 0, IPC_RMID);
    pid_t other = sleeper();
    INTERRUPTED("waitpid", 0, waitpid(other, NULL, 0));
    siginfo_t info;
    INTERRUPTED("waitid", 0, waitid(P_PID, other, &info, WEXITED));
    INTERRUPTED("waitid of a group", 0, waitid(P_PGID, getpgrp(), &info, WEXITED));
    end(other);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    INTERRUPTED("sigwaitinfo", SA_RESTART, sigwaitinfo(&set, &info));
    sigemptyset(&set);
    INTERRUPTED("sigsuspend", SA_RESTART, sigsuspend(&set));
    int lock = open("lock", O_CREAT | O_RDWR, 0600);
    block(SIG_BLOCK, SIGUSR2);
    fflush(stdout);
    if (!(child = fork())) {
        flock(open("lock", O_RDWR), LOCK_EX);
        block(SIG_UNBLOCK, SIGUSR2);
        kill(getppid(), SIGUSR2);
        for (;;)
            pause();
    }
    sigaddset(&set, SIGUSR2);
    sigwaitinfo(&set, &info);
    tell("locked", &info);
    INTERRUPTED("flock", 0, flock(lock, LOCK_EX));
    end(child);
    /* with a restart something must end the call: a writer comes later */
    pthread_t writer;
    got = 0; /* else the writer could take the signal before for its own */
    pthread_create(&writer, NULL, late_writer, "fifo");
    INTERRUPTED("open of a fifo", SA_RESTART, open("fifo", O_RDONLY));
    pthread_join(writer, NULL);
}

static void *raiser(void *me)
{
    while (!__atomic_load_n(&got, __ATOMIC_ACQUIRE)) {
        pthread_kill(*(pthread_t *)me, SIGUSR1);
        usleep(200);
    }
    return NULL;
}

static int handled;

static void count(int number)
{
    handled++;
}

/* Calls that no signal interrupts, under a hail of signals. */
static void hail(void)
{
    struct sigaction action = {.sa_handler = count};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t me = pthread_self(), thread;
    got = 0;
    pthread_create(&thread, NULL, raiser, &me);
    int failed = 0, made = 0;
    for (int i = 0; i < 300; i++) {
        char name[32];
        struct stat about;
        sprintf(name, "file%d", i);
        int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
        failed += fd < 0;
        failed += stat(name, &about) != 0;
        failed += rename(name, "other") != 0;
        failed += access("other", R_OK) != 0;
        failed += unlink("other") != 0;
        failed += mkdir(name, 0700) != 0;
        failed += rmdir(name) != 0;
        failed += getppid() <= 0 && errno;
        close(fd);
    }
    while (!handled)
        usleep(1000);
    __atomic_store_n(&got, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    printf("under a hail %d failed\n", failed);
}

static void stacks(void)
{
    stack_low = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {stack_low, 0, 65536}, old;
    printf("sigaltstack %s\n", error(sigaltstack(&stack, &old)));
    struct sigaction action = {.sa_sigaction = on_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    printf("on its stack %d flags %d\n", got, last.si_errno);
    fflush(stdout);
    if (!(child = fork())) {
        sigaltstack(NULL, &old);
        printf("  a child's stack %d\n", old.ss_sp == stack_low);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    stack.ss_size = 100, stack.ss_flags = 0;
    printf("a small stack %s\n", error(sigaltstack(&stack, NULL)));
}

static int try(void (*action)(void))
{
    int status;
    fflush(stdout);
    if (!(child = fork())) {
        signal(SIGUSR1, SIG_DFL);
        signal(SIGALRM, SIG_DFL);
        action();
        _exit(0);
    }
    waitpid(child, &status, 0);
    return status;
}

static void act_segv(void) { *(volatile int *)8 = 1; }
static void act_abort(void) { abort(); }
static void act_term(void) { raise(SIGTERM); }
static void act_kill(void) { kill(getpid(), SIGKILL); }
static void act_pipe(void) { int p[2]; pipe(p); close(p[0]); write(p[1], "x", 1); }
static void act_alarm(void) { ualarm(1000, 0); for (;;) pause(); }
static void act_rt(void) { raise(SIGRTMIN); }
static void act_trap(void) { __asm__("int3"); }
static void act_ill(void) { __asm__("ud2"); }
static void act_ignored(void) { signal(SIGTERM, SIG_IGN); raise(SIGTERM); }
static void act_fpe(void) { volatile int zero = 0; zero = 1 / zero; }
static void act_fsize(void) { struct rlimit limit = {10, 10}; setrlimit(RLIMIT_FSIZE, &limit); int fd = open("big", O_CREAT | O_RDWR, 0600); ftruncate(fd, 100); }
static void act_cpu(void) { struct rlimit limit = {1, 2}; setrlimit(RLIMIT_CPU, &limit); struct itimerval t = {{0, 0}, {0, 10000}}; setitimer(ITIMER_PROF, &t, NULL); for (;;) ; }

static void ends(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* as it always is inside */
    status("segv", try(act_segv));
    status("abort", try(act_abort));
    status("term", try(act_term));
    status("kill", try(act_kill));
    status("pipe", try(act_pipe));
    status("alarm", try(act_alarm));
    status("real time", try(act_rt));
    status("trap", try(act_trap));
    status("ill", try(act_ill));
    status("fpe", try(act_fpe));
    status("fsize", try(act_fsize));
    status("profile", try(act_cpu));
    status("ignored", try(act_ignored));
}

static void stops(void)
{
    int now;
    siginfo_t info = {0};
    signal(SIGCHLD, SIG_DFL);
    pid_t other = sleeper();
    while (!asleep(other))
        usleep(1000);
    printf("nothing %d\n", waitpid(other, &now, WNOHANG | WUNTRACED | WCONTINUED));
    kill(other, SIGSTOP);
    waitpid(other, &now, WUNTRACED);
    status("stop", now);
    printf("told once %d\n", waitpid(other, &now, WUNTRACED | WNOHANG));
    kill(other, SIGCONT);
    waitpid(other, &now, WCONTINUED);
    status("continue", now);
    kill(other, SIGTSTP);
    waitid(P_PID, other, &info, WSTOPPED | WNOWAIT);
    tell("waitid, left", &info);
    waitid(P_PID, other, &info, WSTOPPED);
    tell("waitid", &info);
    memset(&info, 1, sizeof info);
    printf("waitid nothing %d, pid %d\n", waitid(P_PID, other, &info, WSTOPPED | WNOHANG), info.si_pid);
    kill(other, SIGCONT);
    waitid(P_ALL, 0, &info, WCONTINUED);
    tell("waitid all", &info);
    kill(other, SIGSTOP);
    waitid(P_PGID, getpgrp(), &info, WSTOPPED);
    tell("waitid group", &info);
    kill(other, SIGTERM);
    printf("a stopped one is not ended %d\n", waitpid(other, &now, WNOHANG));
    kill(other, SIGCONT);
    waitid(P_PID, other, &info, WEXITED | WNOWAIT);
    tell("ended, left", &info);
    printf("waitid wants something %s\n", error(waitid(P_PID, other, &info, 0)));
    printf("waitid of what %s\n", error(syscall(SYS_waitid, 9, other, &info, WEXITED, NULL)));
    printf("wait4 of what %s\n", error(waitpid(other, &now, 0x100)));
    printf("waitid, wild %s\n", error(syscall(SYS_waitid, P_PID, other, 16, WEXITED | WNOWAIT, NULL)));
    struct rusage usage;
    printf("wait4 %d\n", wait4(other, &now, 0, &usage) == other);
    status("ended", now);
    printf("no child %s\n", error(waitpid(other, &now, 0)));
    printf("no child of a group %s\n", error(waitid(P_PGID, 0x3ffffff, &info, WEXITED)));

    /* stopped at once, with SIGCHLD's own story */
    catch(SIGCHLD, 0);
    other = sleeper();
    got = 0;
    kill(other, SIGSTOP);
    while (!got)
        usleep(1000);
    tell("told of a stop", &last);
    got = 0;
    kill(other, SIGCONT);
    while (!got)
        usleep(1000);
    tell("told of going on", &last);
    catch(SIGCHLD, SA_NOCLDSTOP);
    got = 0;
    kill(other, SIGSTOP);
    waitpid(other, &now, WUNTRACED);
    printf("not told %d\n", got);
    kill(other, SIGKILL);
    while (!got)
        usleep(1000);
    tell("told of the end", &last);
    waitpid(other, &now, 0);
    status("killed when stopped", now);
    signal(SIGCHLD, SIG_IGN);
    other = sleeper();
    kill(other, SIGKILL);
    printf("nobody waits %s\n", error(waitpid(other, &now, 0)));
    signal(SIGCHLD, SIG_DFL);
    /* one that stops itself, with threads */
    fflush(stdout);
    if (!(child = fork())) {
        pthread_t thread;
        sigset_t set;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, (void *(*)(void *))pause, NULL);
        raise(SIGSTOP);
        _exit(4);
    }
    waitpid(child, &now, WUNTRACED);
    status("stopped itself", now);
    kill(child, SIGCONT);
    waitpid(child, &now, 0);
    status("went on", now);
}

static void pidfds(void)
{
    siginfo_t info = {0};
    pid_t other = sleeper();
    int fd = syscall(SYS_pidfd_open, other, 0);
    struct pollfd wanted = {fd, POLLIN};
    printf("pidfd %s cloexec %d poll %d\n", error(fd), fcntl(fd, F_GETFD), poll(&wanted, 1, 0));
    printf("signal 0 %s\n", error(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0)));
    printf("flags %s, signal %s, wild %s\n", error(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0x100)),
           error(syscall(SYS_pidfd_send_signal, fd, 99, NULL, 0)), error(syscall(SYS_pidfd_send_signal, fd, 10, 16, 0)));
    printf("not a pidfd %s, closed %s\n", error(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0)),
           error(syscall(SYS_pidfd_send_signal, 99, 0, NULL, 0)));
    char name[64];
    sprintf(name, "/proc/%d", other);
    int directory = open(name, O_DIRECTORY | O_RDONLY);
    printf("a directory of /proc %s\n", error(syscall(SYS_pidfd_send_signal, directory, 0, NULL, 0)));
    int below = open("/proc", O_DIRECTORY | O_RDONLY);
    printf("/proc itself %s\n", error(syscall(SYS_pidfd_send_signal, below, 0, NULL, 0)));
    printf("send %s\n", error(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
    printf("poll %d events %d\n", poll(&wanted, 1, 5000), wanted.revents);
    printf("waitid %s\n", error(waitid(P_PIDFD, fd, &info, WEXITED)));
    tell("waitid pidfd", &info);
    printf("send to the dead %s\n", error(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0)));
    printf("by directory %s\n", error(syscall(SYS_pidfd_send_signal, directory, 0, NULL, 0)));
    printf("open the dead %s\n", error(syscall(SYS_pidfd_open, other, 0)));
    printf("open 0 %s, -1 %s, flags %s\n", error(syscall(SYS_pidfd_open, 0, 0)), error(syscall(SYS_pidfd_open, -1, 0)),
           error(syscall(SYS_pidfd_open, getpid(), 0x40)));
    sprintf(name, "/proc/self/fdinfo/%d", (int)syscall(SYS_pidfd_open, getpid(), 0));
    char text[512] = "";
    read(open(name, O_RDONLY), text, sizeof text - 1);
    char *line = strstr(text, "\nPid:");
    printf("its number is mine %d\n", line && atoi(line + 5) == getpid());
    catch(SIGUSR1, 0);
    syscall(SYS_pidfd_send_signal, (int)syscall(SYS_pidfd_open, getpid(), 0), SIGUSR1, NULL, 0);
    tell("pidfd_send_signal", &last);
    close(fd);
}

static void inheritance(void)
{
    catch(SIGUSR1, SA_RESTART);
    block(SIG_BLOCK, SIGUSR2);
    raise(SIGUSR2);
    fflush(stdout);
    if (!(child = fork())) {
        struct sigaction action;
        sigset_t set;
        sigaction(SIGUSR1, NULL, &action);
        sigpending(&set);
        printf("  handler %d restart %d pending %d", action.sa_sigaction == handler, !!(action.sa_flags & SA_RESTART), sigismember(&set, SIGUSR2));
        sigprocmask(SIG_BLOCK, NULL, &set);
        printf(" blocked %d\n", sigismember(&set, SIGUSR2));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigwaitinfo(&set, &info);
    block(SIG_UNBLOCK, SIGUSR2);
    prctl(PR_SET_PDEATHSIG, 0);
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER}, now;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &now);
    printf("once %d\n", now.sa_handler == SIG_DFL);
    printf("no handler for KILL %s, for STOP %s, for 0 %s\n", error(sigaction(SIGKILL, &action, NULL)),
           error(syscall(SYS_rt_sigaction, SIGSTOP, &action, NULL, 8)), error(syscall(SYS_rt_sigaction, 0, &action, NULL, 8)));
    fflush(stdout);
    if (!(child = fork())) { /* a parent's death is told */
        pid_t parent = getpid();
        block(SIG_BLOCK, SIGUSR1);
        block(SIG_BLOCK, SIGUSR2);
        if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            kill(parent, SIGUSR2);
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigwaitinfo(&set, &info);
            printf("  parent's death: signal %d code %d\n", info.si_signo, info.si_code);
            fflush(stdout);
            _exit(0);
        }
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        sigwaitinfo(&set, &info);
        _exit(0);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    waitpid(child, NULL, 0);
    while (wait(NULL) > 0)
        ;
}

/* Who is to have the signals of a file, and who holds a lock. */
static void owners(void)
{
    static const char *kinds[] = {"thread", "process", "group", "nobody"};
    struct f_owner_ex owner = {F_OWNER_TID, 0}, found;
    struct flock lock = {F_WRLCK, SEEK_SET, 3, 4, 0};
    int pair[2], fd = open("locked", O_CREAT | O_RDWR, 0600);
    pipe(pair);
    catch(SIGRTMIN + 3, 0);
    block(SIG_UNBLOCK, SIGRTMIN + 3);
    for (int kind = F_OWNER_TID; kind <= F_OWNER_PGRP; kind++) {
        owner.type = kind;
        owner.pid = kind == F_OWNER_TID ? gettid() : getpid();
        printf("owner %s %s", kinds[kind], error(fcntl(pair[0], F_SETOWN_EX, &owner)));
        printf(" %s", error(fcntl(pair[0], F_GETOWN_EX, &found)));
        printf(" %s %d\n", kinds[found.type], found.pid == owner.pid);
        fcntl(pair[0], F_SETSIG, SIGRTMIN + 3);
        fcntl(pair[0], F_SETFL, O_ASYNC);
        got = 0;
        write(pair[1], "x", 1);
        for (int tries = 0; !got && tries < 50000; tries++)
            usleep(100);
        read(pair[0], &(char){0}, 1);
        printf("signal %d code %d of it %d\n", got - SIGRTMIN, last.si_code, last.si_fd == pair[0]);
    }
    owner.type = 7;
    printf("owner %s\n", error(fcntl(pair[0], F_SETOWN_EX, &owner)));
    owner = (struct f_owner_ex){F_OWNER_TID, 1 << 24};
    printf("owner %s\n", error(fcntl(pair[0], F_SETOWN_EX, &owner)));
    printf("locked %s\n", error(fcntl(fd, F_SETLK, &lock)));
    if (!(child = fork())) {
        printf("lock %s", error(fcntl(fd, F_GETLK, &lock)));
        printf(" %d %ld %ld of %s\n", lock.l_type, (long)lock.l_start, (long)lock.l_len, who(lock.l_pid));
        lock = (struct flock){F_RDLCK, SEEK_SET, 0, 0, 0};
        printf("lock %s", error(fcntl(fd, F_OFD_GETLK, &lock)));
        printf(" of %s\n", who(lock.l_pid));
        lock = (struct flock){F_RDLCK, SEEK_SET, 20, 0, 77};
        printf("lock %s", error(fcntl(fd, F_GETLK, &lock)));
        printf(" %d of %d\n", lock.l_type, lock.l_pid);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    close(fd);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    setpgid(0, 0);
    first = getpid();
    signal(SIGUSR2, SIG_IGN);
    senders();
    block(SIG_UNBLOCK, SIGUSR1);
    queue();
    timers();
    interruptions();
    hail();
    stacks();
    ends();
    stops();
    pidfds();
    inheritance();
    fflush(stdout);
    owners();
    return 0;
}
