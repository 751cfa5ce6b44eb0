/* Threads in every form: a transcript to compare with the kernel's own.  Run in an empty directory that can be written. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static const char *error(long result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static const char *number(int error)
{
    return error ? strerrorname_np(error) : "ok";
}

static pid_t tid(void)
{
    return syscall(SYS_gettid);
}

static int threads(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void status(const char *what, int status)
{
    printf("%s:", what);
    if (WIFEXITED(status)) printf(" exit %d", WEXITSTATUS(status));
    if (WIFSIGNALED(status)) printf(" signal %d", WTERMSIG(status));
    printf("\n");
}

#define CHILD(name, ...)                \
    do {                                \
        int now;                        \
        fflush(stdout);                 \
        pid_t child = fork();           \
        if (!child) {                   \
            __VA_ARGS__;                \
            fflush(stdout);             \
            _exit(0);                   \
        }                               \
        waitpid(child, &now, 0);        \
        status(name, now);              \
    } while (0)

static pthread_barrier_t barrier;

static void *named(void *name)
{
    char path[64], text[32] = "";
    pthread_setname_np(pthread_self(), name);
    sprintf(path, "/proc/self/task/%d/comm", tid());
    int fd = open(path, O_RDONLY);
    read(fd, text, sizeof text - 1);
    close(fd);
    text[strcspn(text, "\n")] = 0;
    struct stat about;
    sprintf(path, "/proc/%d/task/%d", getpid(), tid());
    printf("thread %s is named %s, its directory is %s, by number %s\n", (char *)name, text, error(stat(path, &about)),
           (sprintf(path, "/proc/%d", tid()), error(stat(path, &about))));
    fd = open("/proc/thread-self/comm", O_RDWR);
    write(fd, "other", 5);
    close(fd);
    pthread_getname_np(pthread_self(), text, sizeof text);
    printf("  and now %s\n", text);
    return NULL;
}

static void *waiter(void *unused)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void names(void)
{
    pthread_t some[5];
    pthread_create(some, NULL, named, "first");
    pthread_join(some[0], NULL);
    char name[32];
    pthread_getname_np(pthread_self(), name, sizeof name);
    printf("main is still %s\n", name);
    pthread_barrier_init(&barrier, NULL, 6);
    for (int i = 0; i < 5; i++)
        pthread_create(some + i, NULL, waiter, NULL);
    pthread_barrier_wait(&barrier);
    printf("tasks %d\n", threads());
    pthread_setname_np(some[0], "afar");
    pthread_getname_np(some[0], name, sizeof name);
    printf("named from afar %s\n", name);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 5; i++)
        pthread_join(some[i], NULL);
    while (threads() > 1)
        usleep(1000);
    printf("tasks %d\n", threads());
}

static void *add(void *mutex)
{
    static int total;
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(mutex);
        total++;
        pthread_mutex_unlock(mutex);
    }
    return &total;
}

static void *hold(void *mutex)
{
    pthread_mutex_lock(mutex);
    return NULL; /* and ends with it */
}

static void mutexes(void)
{
    static const struct { const char *name; int protocol, robust, kind; } forms[] = {
        {"plain", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL},
        {"recursive", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_RECURSIVE},
        {"checking", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ERRORCHECK},
        {"inheriting", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL},
        {"robust", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL},
        {"robust inheriting", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL},
    };
    for (int i = 0; i < sizeof forms / sizeof *forms; i++) {
        pthread_mutexattr_t attributes;
        pthread_mutex_t mutex;
        pthread_t some[3];
        int *total, before = 0;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setprotocol(&attributes, forms[i].protocol);
        pthread_mutexattr_setrobust(&attributes, forms[i].robust);
        pthread_mutexattr_settype(&attributes, forms[i].kind);
        pthread_mutex_init(&mutex, &attributes);
        for (int j = 0; j < 3; j++)
            pthread_create(some + j, NULL, add, &mutex);
        for (int j = 0; j < 3; j++)
            pthread_join(some[j], (void **)&total);
        printf("%s mutex: %d, main's too %s", forms[i].name, *total, number(pthread_mutex_lock(&mutex)));
        printf(" %s\n", number(pthread_mutex_unlock(&mutex)));
        if (forms[i].robust == PTHREAD_MUTEX_ROBUST) {
            pthread_create(some, NULL, hold, &mutex);
            pthread_join(some[0], NULL);
            printf("  its owner died %s", number(pthread_mutex_lock(&mutex)));
            printf(" consistent %s", number(pthread_mutex_consistent(&mutex)));
            printf(" %s\n", number(pthread_mutex_unlock(&mutex)));
            pthread_mutex_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
            pthread_mutex_init(shared, &attributes);
            fflush(stdout);
            if (!fork()) {
                pthread_mutex_lock(shared);
                kill(getpid(), SIGKILL);
            }
            wait(NULL);
            printf("  its process died %s\n", number(pthread_mutex_lock(shared)));
        }
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        if (forms[i].kind == PTHREAD_MUTEX_ERRORCHECK) {
            pthread_mutex_lock(&mutex);
            printf("  twice %s", number(pthread_mutex_lock(&mutex)));
            pthread_mutex_unlock(&mutex);
            printf(" unlocked %s\n", number(pthread_mutex_unlock(&mutex)));
        }
    }
}

static long futex(void *word, int operation, int value, void *time, void *other, int more)
{
    return syscall(SYS_futex, word, operation, value, time, other, more);
}

static int word, second;

static void *wait_word(void *bits)
{
    long result = bits ? futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, (intptr_t)bits) : futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0);
    return (void *)(result ? errno : 0L);
}

static int sleeping(int wanted)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(directory));) {
        char name[300], text[300] = "";
        sprintf(name, "/proc/self/task/%s/syscall", entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        sprintf(name, "/proc/self/task/%s/stat", entry->d_name);
        int fd = open(name, O_RDONLY);
        if (fd < 0)
            continue;
        read(fd, text, sizeof text - 1);
        close(fd);
        char *end = strrchr(text, ')');
        count += end && end[2] == 'S';
    }
    closedir(directory);
    return count == wanted;
}

static void futexes(void)
{
    struct timespec moment = {0, 1000000}, past = {1, 0};
    pthread_t some[4];
    void *result;
    printf("wait with another value %s\n", error(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0)));
    printf("wait, timed %s\n", error(futex(&word, FUTEX_WAIT, 0, &moment, NULL, 0)));
    printf("wait until then %s\n", error(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, NULL, ~0)));
    printf("no bits %s, wild %s, odd %s, what %s\n", error(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0)),
           error(futex((void *)16, FUTEX_WAIT, 0, NULL, NULL, 0)), error(futex((char *)&word + 1, FUTEX_WAKE, 1, NULL, NULL, 0)),
           error(futex(&word, 99, 0, NULL, NULL, 0)));
    for (int i = 0; i < 4; i++)
        pthread_create(some + i, NULL, wait_word, i < 2 ? NULL : (void *)(intptr_t)(1 << i));
    while (!sleeping(4))
        usleep(1000);
    printf("woken by bits %ld\n", futex(&word, FUTEX_WAKE_BITSET, 9, NULL, NULL, 8));
    pthread_join(some[3], &result);
    printf("  %s\n", number((intptr_t)result));
    printf("requeued %ld\n", futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)(intptr_t)9, &second, 0));
    printf("requeued with another value %s\n", error(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)(intptr_t)9, &second, 7)));
    printf("woken there %ld\n", futex(&second, FUTEX_WAKE, 9, NULL, NULL, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(some[i], NULL);
    printf("wake op %ld\n", futex(&word, FUTEX_WAKE_OP, 1, (void *)(intptr_t)1, &second, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)));
    printf("  left %d\n", second);
    int pi = 0;
    printf("lock pi %s, again %s, ", error(futex(&pi, FUTEX_LOCK_PI, 0, NULL, NULL, 0)), error(futex(&pi, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    printf("mine %d, unlock %s\n", (pi & FUTEX_TID_MASK) != 0, error(futex(&pi, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
    pi = 0x3ffffff;
    printf("lock pi of nobody %s\n", error(futex(&pi, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    struct robust_list_head *head;
    size_t size;
    printf("robust list %s %zu", error(syscall(SYS_get_robust_list, 0, &head, &size)), size);
    printf(" by number %s", error(syscall(SYS_get_robust_list, tid(), &head, &size)));
    printf(" of nobody %s\n", error(syscall(SYS_get_robust_list, 0x3ffffff, &head, &size)));
    printf("set with a bad size %s\n", error(syscall(SYS_set_robust_list, head, 1)));
    struct { uint64_t value, address; uint32_t flags, more; } vector[2] = {{1, (uintptr_t)&word, 2, 0}, {second, (uintptr_t)&second, 2, 0}};
    printf("waitv %s\n", error(syscall(449, vector, 2, 0, NULL, CLOCK_MONOTONIC)));
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    clock_gettime(CLOCK_REALTIME, &past);
    printf("semaphore %s\n", error(sem_timedwait(&semaphore, &past)));
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    printf("condition %s\n", number(pthread_cond_timedwait(&condition, &mutex, &past)));
}

static int made(void *argument)
{
    *(int *)argument = getpid() == tid() ? 1 : 2;
    return 7;
}

static int wait_for_word(void *argument)
{
    while (!atomic_load((_Atomic int *)argument))
        syscall(SYS_sched_yield);
    return 5;
}

static void clones(void)
{
    static char stack[65536], other[65536];
    int seen = 0, parent_tid = 0, child_tid = -1, now, pidfd = -1;
    pid_t child = clone(made, stack + sizeof stack, CLONE_VM | SIGCHLD, &seen);
    waitpid(child, &now, 0);
    status("clone with memory shared", now);
    printf("  seen %d\n", seen);
    child = clone(made, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, &seen, &parent_tid);
    printf("vfork's way: told %d\n", parent_tid == child);
    waitpid(child, &now, 0);
    seen = 0;
    child = clone(wait_for_word, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_PIDFD, &seen,
                  &pidfd, NULL, &child_tid);
    printf("pidfd with settid %s\n", error(child));
    child_tid = 1;
    child = clone(wait_for_word, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID, &seen,
                  &pidfd, NULL, &child_tid);
    printf("without an end's signal %s\n", error(child));
    printf("wait alone %s\n", error(waitpid(child, &now, WNOHANG)));
    printf("wait with __WALL %ld\n", (long)waitpid(child, &now, WNOHANG | __WALL));
    atomic_store((_Atomic int *)&seen, 1);
    waitpid(child, &now, __WCLONE);
    status("with __WCLONE", now);
    printf("cleared %d\n", child_tid);
    printf("thread without handlers %s, handlers without memory %s\n", error(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, 0, 0, 0, 0)),
           error(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0)));
    printf("file systems apart and shared %s\n", error(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0)) ? "no" : "");

    struct clone3_args args = {.exit_signal = SIGCHLD};
    fflush(stdout);
    child = syscall(SYS_clone3, &args, 64);
    if (!child)
        _exit(8);
    waitpid(child, &now, 0);
    status("clone3", now);
    args.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID;
    args.pidfd = (uintptr_t)&pidfd, args.parent_tid = (uintptr_t)&parent_tid, args.child_tid = (uintptr_t)&child_tid;
    fflush(stdout);
    child = syscall(SYS_clone3, &args, sizeof args);
    if (!child) {
        printf("  child's number %d\n", child_tid == getpid());
        fflush(stdout);
        _exit(9);
    }
    printf("parent's number %d, a pidfd %d cloexec %d\n", parent_tid == child, pidfd > 2, fcntl(pidfd, F_GETFD));
    siginfo_t info;
    waitid(3, pidfd, &info, WEXITED);
    printf("by pidfd %d\n", info.si_status);
    close(pidfd);
    printf("small %s, large %s, wild %s, ", error(syscall(SYS_clone3, &args, 8)), error(syscall(SYS_clone3, &args, 9999)),
           error(syscall(SYS_clone3, 16, 64)));
    args.exit_signal = 0x100;
    printf("signal %s, ", error(syscall(SYS_clone3, &args, 64)));
    args.exit_signal = SIGCHLD, args.flags = 0, args.stack = 4096;
    printf("stack %s, ", error(syscall(SYS_clone3, &args, 64)));
    args.stack = 0, args.flags = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
    printf("a thread with a signal %s, ", error(syscall(SYS_clone3, &args, 64)));
    args.flags = CLONE_DETACHED;
    printf("detached %s\n", error(syscall(SYS_clone3, &args, 64)));
    int files = 0;
    child = clone(made, other + sizeof other, CLONE_VM | CLONE_PARENT | SIGCHLD, &files);
    printf("a sibling %s, mine %s\n", error(child), error(waitpid(child, &now, __WALL)));
}

static void *group_exit(void *unused) { exit(6); }
static void *thread_exit(void *unused) { syscall(SYS_exit, 3); return NULL; }
static void *lone(void *argument) { usleep(1000); _exit(threads() >= 1 ? 11 : 12); }
static void *fault(void *unused) { *(volatile int *)8 = 1; return NULL; }
static void *forker(void *unused)
{
    int now;
    pid_t child = fork();
    if (!child)
        _exit(threads() == 1 && getpid() == tid() ? 21 : 22);
    waitpid(child, &now, 0);
    return (void *)(intptr_t)WEXITSTATUS(now);
}
static void *sleeper(void *unused) { for (;;) pause(); }
static void *canceled(void *unused) { for (;;) open("fifo", O_RDONLY); }

static void ends(void)
{
    pthread_t thread, more;
    void *result;
    mkfifo("fifo", 0600);
    CHILD("a thread exits the group", pthread_create(&more, NULL, sleeper, NULL); pthread_create(&thread, NULL, group_exit, NULL); for (;;) pause());
    CHILD("a thread exits alone", pthread_create(&thread, NULL, thread_exit, NULL); pthread_join(thread, NULL));
    CHILD("the first thread exits before", pthread_create(&thread, NULL, lone, NULL); syscall(SYS_exit, 4));
    CHILD("a thread faults", pthread_create(&more, NULL, sleeper, NULL); pthread_create(&thread, NULL, fault, NULL); for (;;) pause());
    CHILD("a thread forks", pthread_create(&thread, NULL, forker, NULL); pthread_join(thread, &result); _exit((intptr_t)result));
    CHILD("a thread in a call that waits is cancelled", pthread_create(&thread, NULL, canceled, NULL); while (!sleeping(1)) usleep(1000);
          pthread_cancel(thread); pthread_join(thread, &result); _exit(result == PTHREAD_CANCELED ? 31 : 32));
    CHILD("the group ends while threads wait", for (int i = 0; i < 5; i++) pthread_create(&thread, NULL, canceled, NULL); _exit(41));
    CHILD("killed while threads wait", for (int i = 0; i < 5; i++) pthread_create(&thread, NULL, canceled, NULL); kill(getpid(), SIGKILL));
}

static void *detached(void *argument)
{
    unshare(CLONE_FS);
    return (void *)(long)chdir("/");
}

static void *opens(void *argument)
{
    for (int i = 0; i < 100; i++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd < 0 || close(fd))
            return (void *)1;
    }
    return NULL;
}

static void rest(void)
{
    cpu_set_t set, back;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof back, &back);
    CPU_SET(0, &set);
    printf("affinity %s", error(sched_setaffinity(0, sizeof set, &set)));
    sched_getaffinity(tid(), sizeof set, &set);
    printf(" %d cpu %d", CPU_COUNT(&set), sched_getcpu());
    printf(" of nobody %s", error(sched_setaffinity(0x3ffffff, sizeof set, &set)));
    CPU_ZERO(&set);
    printf(" empty %s", error(sched_setaffinity(0, sizeof set, &set)));
    printf(" small %s\n", error(syscall(SYS_sched_getaffinity, 0, 1, &set)));
    sched_setaffinity(0, sizeof back, &back);
    struct sched_param parameter = {0};
    printf("scheduler %d %s, batch %s, idle %s", sched_getscheduler(0), error(sched_getparam(getpid(), &parameter)),
           error(sched_setscheduler(0, SCHED_BATCH, &parameter)), error(sched_setscheduler(tid(), SCHED_OTHER, &parameter)));
    printf(" what %s\n", error(sched_setscheduler(0, 77, &parameter)));
    printf("priority %d, lower %s", getpriority(PRIO_PROCESS, 0), error(setpriority(PRIO_PROCESS, 0, 3)));
    printf(" %d\n", getpriority(PRIO_PROCESS, tid()));
    int known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    printf("membarrier %d, unregistered %s, register %s, private %s, what %s\n", (known & 1) != 0,
           error(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)),
           error(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)),
           error(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)), error(syscall(SYS_membarrier, 1 << 20, 0, 0)));
    char area[64] __attribute__((aligned(32))) = {0};
    printf("rseq again %s\n", error(syscall(SYS_rseq, area, 32, 0, 0x53053053)));
    pthread_t thread;
    char before[PATH_MAX], after[PATH_MAX];
    getcwd(before, sizeof before);
    pthread_create(&thread, NULL, opens, NULL);
    opens(NULL);
    void *result;
    pthread_join(thread, &result);
    printf("files opened by two %p\n", result);
    struct rlimit limit = {100, 100};
    printf("prlimit of itself %s, of nobody %s\n", error(prlimit(getpid(), RLIMIT_NOFILE, &limit, NULL)), error(prlimit(0x3ffffff, RLIMIT_NOFILE, NULL, &limit)));
    printf("kcmp %ld, of nobody %s\n", syscall(SYS_kcmp, getpid(), getpid(), 2, 0, 0), error(syscall(SYS_kcmp, getpid(), 0x3ffffff, 2, 0, 0)));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    names();
    mutexes();
    futexes();
    clones();
    ends();
    rest();
    return 0;
}
