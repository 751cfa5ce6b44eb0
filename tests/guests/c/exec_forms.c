/* Every form of exec, and what Linux says to each that cannot be: a transcript to compare with the kernel's own.
   Run in an empty directory that can be written. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char self[PATH_MAX];
static char *const words[] = {"zero", "report", "two words", NULL};
static char *const variables[] = {"SEEN=yes", NULL};

/* What an image finds when it starts. */
static int report(int argc, char **argv)
{
    char comm[17] = "";
    prctl(PR_GET_NAME, comm);
    printf("  argc %d", argc);
    for (int i = 0; i < argc; i++)
        printf(" [%s]", argv[i]);
    printf(" execfn [%s] comm [%s]", (char *)getauxval(AT_EXECFN), comm);
    printf(" leader %d dumpable %d secure %lu", getpid() == syscall(SYS_gettid), prctl(PR_GET_DUMPABLE), getauxval(AT_SECURE));
    char *seen = getenv("SEEN");
    printf(" env %s\n", seen ? seen : "-");
    return 0;
}

static int signals(void)
{
    sigset_t set;
    struct sigaction action;
    stack_t stack;
    sigprocmask(SIG_BLOCK, NULL, &set);
    printf("  mask");
    for (int i = 1; i < 65; i++)
        if (sigismember(&set, i) == 1)
            printf(" %d", i);
    sigpending(&set);
    printf(" pending");
    for (int i = 1; i < 65; i++)
        if (sigismember(&set, i) == 1)
            printf(" %d", i);
    printf(" ignored");
    for (int i = 1; i < 32; i++)
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            printf(" %d", i);
    printf(" handled");
    for (int i = 1; i < 65; i++)
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL)
            printf(" %d", i);
    sigaltstack(NULL, &stack);
    struct itimerval timer;
    getitimer(ITIMER_REAL, &timer);
    printf(" altstack %d alarm %d\n", stack.ss_flags, timer.it_value.tv_sec > 1000);
    return 0;
}

static void done(pid_t pid)
{
    int status;
    fflush(stdout);
    if (waitpid(pid, &status, 0) != pid)
        perror("waitpid");
    else if (WIFSIGNALED(status))
        printf("  signal %d\n", WTERMSIG(status));
    else if (WEXITSTATUS(status))
        printf("  exit %d\n", WEXITSTATUS(status));
}




#define CHILD(name, ...)                                           \
    do {                                                           \
        printf("%s\n", name);                                      \
        fflush(stdout);                                            \
        pid_t child = fork();                                      \
        if (!child) {                                              \
            __VA_ARGS__;                                           \
            printf("  %s\n", strerrorname_np(errno));              \
            fflush(stdout);                                        \
            _exit(0);                                              \
        }                                                          \
        done(child);                                               \
    } while (0)

static int at(int dirfd, const char *path, char *const *argv, char *const *envp, int flags)
{
    return syscall(SYS_execveat, dirfd, path, argv, envp, flags);
}

static void put(const char *name, const void *data, size_t size, int mode)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (write(fd, data, size) != (ssize_t)size)
        perror(name);
    fchmod(fd, mode);
    close(fd);
}

static void copy(const char *name)
{
    int from = open(self, O_RDONLY | O_CLOEXEC), to = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
    char buffer[65536];
    ssize_t got;
    while ((got = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, got) != got)
            perror(name);
    close(from);
    close(to);
}

static void *sleeper(void *fifo)
{
    open(fifo, O_RDONLY); /* for ever: nobody writes */
    return NULL;
}

static void *pauser(void *unused)
{
    for (;;)
        pause();
}

static void *runner(void *unused)
{
    prctl(PR_SET_NAME, "runner");
    execve(self, words, variables);
    return NULL;
}

static void by_thread(int others)
{
    pthread_t thread;
    mkfifo("fifo", 0600);
    for (int i = 0; i < others; i++) {
        pthread_create(&thread, NULL, sleeper, "fifo");
        pthread_create(&thread, NULL, pauser, NULL);
    }
    pthread_create(&thread, NULL, runner, NULL);
    for (;;)
        pause();
}

static void nothing(int number) {}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "signals"))
        return signals();
    if (argc > 1 && !strcmp(argv[1], "wait")) {
        char byte;
        return read(0, &byte, 1) < 0;
    }
    if (argc > 1 && !strcmp(argv[1], "deleted")) {
        unlink("gone");
        char name[PATH_MAX] = "";
        readlink("/proc/self/exe", name, sizeof name - 1);
        printf("  [%s]\n", strrchr(name, 47));
        fflush(stdout);
        execve("/proc/self/exe", words, variables);
        printf("  %s\n", strerrorname_np(errno));
        return 0;
    }
    if (argc > 1) /* maybe of a script */
        return report(argc, argv);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    strncpy(self, argv[0], sizeof self - 1);
    copy("copy");
    put("plain", "no program", 10, 0755);
    put("empty", "", 0, 0755);
    put("mode", "#!/bin/true\n", 12, 0644);
    mkdir("directory", 0755);
    symlink("loop", "loop");
    symlink("copy", "link");
    char text[PATH_MAX + 16];
    put("script", text, sprintf(text, "#!%s -a b  \n", self), 0755);
    put("nested", text, sprintf(text, "#!./script x\n"), 0755);
    put("nowhere", "#!/no/such/file\n", 16, 0755);
    put("folder", "#!/tmp\n", 7, 0755);
    put("bare", "#!\n", 3, 0755);
    put("recursive", "#!./recursive\n", 14, 0755);
    put("short", "\177ELF", 4, 0755);

    CHILD("plain", execve("copy", words, variables));
    CHILD("link", execve("link", words, variables));
    CHILD("absent", execve("absent", words, variables));
    CHILD("no name", execve("", words, variables));
    CHILD("below a file", execve("copy/x", words, variables));
    CHILD("a file with a slash", execve("copy/", words, variables));
    CHILD("a directory", execve("directory", words, variables));
    CHILD("no mode", execve("mode", words, variables));
    CHILD("a loop", execve("loop", words, variables));
    CHILD("no program", execve("plain", words, variables));
    CHILD("an empty file", execve("empty", words, variables));
    CHILD("a short header", execve("short", words, variables));
    CHILD("a device", execve("/dev/null", words, variables));
    memset(text, 'a', sizeof text);
    text[300] = 0;
    CHILD("a long name", execve(text, words, variables));
    text[300] = '/';
    text[PATH_MAX + 1] = 0;
    CHILD("a long path", execve(text, words, variables));
    CHILD("a wild path", execve((char *)16, words, variables));
    CHILD("wild arguments", execve("copy", (char **)16, variables));
    CHILD("a wild argument", char *wild[] = {"a", (char *)16, NULL}; execve("copy", wild, variables));
    CHILD("wild variables", execve("copy", words, (char **)16));
    CHILD("a wild argument of a script", char *wild[] = {"a", (char *)16, NULL}; execve("script", wild, variables));
    CHILD("wild arguments of no program", execve("absent", (char **)16, variables));
    CHILD("no variables", execve("copy", words, NULL));
    CHILD("one argument too long", char *big = calloc(1, 131073); memset(big, 'b', 131072);
          char *two[] = {"a", big, NULL}; execve("copy", two, variables));
    CHILD("the longest argument of a script", char *big = calloc(1, 131073); memset(big, 'b', 131072);
          char *two[] = {"a", big, NULL}; execve("script", two, variables));
    CHILD("too many arguments", char **many = malloc(8 * 2000001); for (int i = 0; i < 2000000; i++) many[i] = "arg";
          many[2000000] = NULL; execve("copy", many, variables));
    CHILD("many arguments", char **many = malloc(8 * 30001); for (int i = 0; i < 30000; i++) many[i] = "argument";
          many[1] = "signals"; many[30000] = NULL; execve("copy", many, variables));

    CHILD("a script", execve("script", words, variables));
    char *last[] = {"zero", "one", "Report", NULL};
    CHILD("a script's arguments", execve("./script", last, variables));
    CHILD("a nested script", execve("nested", last, variables));
    CHILD("a script without arguments", char *none[] = {NULL}; execve("script", none, variables));
    CHILD("an interpreter that is not there", execve("nowhere", words, variables));
    CHILD("an interpreter that is a directory", execve("folder", words, variables));
    CHILD("no interpreter", execve("bare", words, variables));
    CHILD("its own interpreter", execve("recursive", words, variables));

    CHILD("open for writing", open("copy", O_WRONLY | O_CLOEXEC); execve("copy", words, variables));
    CHILD("open for reading and writing", open("copy", O_RDWR | O_CLOEXEC); execve("copy", words, variables));
    CHILD("a script open for writing", open("script", O_WRONLY | O_CLOEXEC); execve("script", last, variables));
    CHILD("a script's interpreter open for writing", copy("inter"); put("script2", "#!./inter\n", 10, 0755);
          open("inter", O_WRONLY | O_CLOEXEC); execve("script2", last, variables));
    CHILD("writing what runs", copy("running"); pid_t child; int pipes[2]; pipe(pipes);
          if (!(child = fork())) {
              dup2(pipes[0], 0); close(pipes[1]);
              char *wait[] = {"running", "wait", NULL}; execve("running", wait, NULL);
          }
          char went[1]; while (readlink("/proc/self/exe", went, 1) < 0); char name[64], now[PATH_MAX] = ""; sprintf(name, "/proc/%d/exe", child);
          while (!strstr(now, "running")) { memset(now, 0, sizeof now); readlink(name, now, sizeof now - 1); }
          int fd = open("running", O_WRONLY); printf("  open %s\n", fd < 0 ? strerrorname_np(errno) : "ok");
          fd = truncate("running", 5); printf("  truncate %s\n", fd < 0 ? strerrorname_np(errno) : "ok");
          kill(child, SIGKILL); waitpid(child, NULL, 0); errno = 0);

    int fd = open("copy", O_RDONLY | O_CLOEXEC), dir = open("directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int here = open(".", O_PATH | O_CLOEXEC);
    CHILD("execveat", at(fd, "", words, variables, AT_EMPTY_PATH));
    CHILD("fexecve", fexecve(fd, words, variables));
    CHILD("execveat without the flag", at(fd, "", words, variables, 0));
    CHILD("execveat of a directory", at(dir, "", words, variables, AT_EMPTY_PATH));
    CHILD("execveat beside a directory", at(dir, "../copy", words, variables, 0));
    CHILD("execveat below a path descriptor", at(here, "copy", words, variables, 0));
    CHILD("execveat below a file", at(fd, "copy", words, variables, 0));
    CHILD("execveat of a path descriptor", int path = open("copy", O_PATH | O_CLOEXEC); at(path, "", words, variables, AT_EMPTY_PATH));
    CHILD("execveat of the working directory", at(AT_FDCWD, "copy", words, variables, 0));
    CHILD("execveat of a bad descriptor", at(77, "", words, variables, AT_EMPTY_PATH));
    CHILD("execveat below a bad descriptor", at(77, "copy", words, variables, 0));
    CHILD("execveat with bad flags", at(fd, "", words, variables, 0x10));
    CHILD("execveat of a link", at(AT_FDCWD, "link", words, variables, AT_SYMLINK_NOFOLLOW));
    CHILD("execveat of a script below a descriptor", at(open(".", O_RDONLY), "script", last, variables, 0));
    CHILD("execveat of a closing script", at(open("script", O_RDONLY | O_CLOEXEC), "", last, variables, AT_EMPTY_PATH));
    CHILD("execveat of an open script", dup2(open("script", O_RDONLY), 40); at(40, "", last, variables, AT_EMPTY_PATH));
    CHILD("execveat of a pipe", int pipes[2]; pipe(pipes); at(pipes[0], "", words, variables, AT_EMPTY_PATH));
    CHILD("exec of /dev/fd", dup2(open("copy", O_RDONLY), 41); execve("/dev/fd/41", words, variables));
    CHILD("exec of /proc/self/fd", dup2(open("copy", O_RDONLY), 41); execve("/proc/self/fd/41", words, variables));
    CHILD("a script through /dev/fd", dup2(open("script", O_RDONLY), 41); execve("/dev/fd/41", last, variables));
    CHILD("a deleted file", copy("gone"); int gone = open("gone", O_RDONLY | O_CLOEXEC); unlink("gone");
          at(gone, "", words, variables, AT_EMPTY_PATH));
    CHILD("a deleted file by its descriptor's name", copy("gone"); dup2(open("gone", O_RDONLY), 42); unlink("gone");
          execve("/proc/self/fd/42", words, variables));
    CHILD("itself", execve("/proc/self/exe", words, variables));
    CHILD("itself, deleted", copy("gone"); char *again[] = {"gone", "deleted", NULL}; execve("gone", again, variables));
    CHILD("a file in memory", int mem = syscall(SYS_memfd_create, "mem", 0); dup2(mem, 43); int from = open("copy", O_RDONLY | O_CLOEXEC);
          char buffer[4096]; ssize_t got; while ((got = read(from, buffer, sizeof buffer)) > 0) write(43, buffer, got); close(mem);
          at(43, "", words, variables, AT_EMPTY_PATH); printf("  %s\n", strerrorname_np(errno));
          int reader = open("/proc/self/fd/43", O_RDONLY); dup2(reader, 44); close(43); at(44, "", words, variables, AT_EMPTY_PATH));
    CHILD("a script in memory", int mem = syscall(SYS_memfd_create, "mem", 0); dup2(mem, 43); close(mem); char line[PATH_MAX];
          write(43, line, sprintf(line, "#!%s\n", self)); int reader = open("/proc/self/fd/43", O_RDONLY); dup2(reader, 44); close(43);
          close(reader); at(44, "", last, variables, AT_EMPTY_PATH));

    strcpy(self, "./copy");
    CHILD("by a thread", by_thread(0));
    CHILD("by a thread among others", by_thread(4));
    CHILD("by a vfork child", pid_t child = vfork(); if (!child) { execve("copy", words, variables); _exit(9); } waitpid(child, NULL, 0); errno = 0);

    char *tell[] = {"zero", "signals", NULL};
    CHILD("signals", sigset_t set; sigemptyset(&set); sigaddset(&set, SIGUSR1); sigaddset(&set, 40);
          sigprocmask(SIG_BLOCK, &set, NULL); raise(SIGUSR1); signal(SIGUSR2, nothing); signal(SIGTERM, SIG_IGN);
          signal(SIGCHLD, SIG_IGN); stack_t stack = {malloc(65536), 0, 65536}; sigaltstack(&stack, NULL);
          struct itimerval timer = {{0, 0}, {5000, 0}}; setitimer(ITIMER_REAL, &timer, NULL);
          execve("copy", tell, NULL));
    CHILD("signals by vfork", sigset_t set; sigemptyset(&set); sigaddset(&set, SIGHUP); sigprocmask(SIG_BLOCK, &set, NULL);
          signal(SIGUSR2, nothing); pid_t child = vfork(); if (!child) { execve("copy", tell, NULL); _exit(9); } waitpid(child, NULL, 0); errno = 0);
    return 0;
}
