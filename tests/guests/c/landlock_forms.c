/* landlock(7) in every form that version 2 of its interface has: a transcript to compare with the kernel's own.
   Run in an empty directory that can be written. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define REFER (1ull << 13)
#define ALL ((1ull << 14) - 1)
#define READS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RUNS (READS | LANDLOCK_ACCESS_FS_EXECUTE)
#define SAY(call) say(#call, call)

static char shared_with_children;

static void say(const char *what, long value)
{
    printf("%s: %s\n", what, value < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

static int create(unsigned long long handled)
{
    return syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
}

static int allow(int ruleset, const char *path, unsigned long long uses)
{
    struct landlock_path_beneath_attr rule = {uses, open(path, O_PATH | O_CLOEXEC)};
    int result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0), number = errno;
    close(rule.parent_fd);
    errno = number;
    return result;
}

static int restrict_self(int ruleset)
{
    return syscall(SYS_landlock_restrict_self, ruleset, 0);
}

static int opens(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd;
}

static int binds(const char *path)
{
    struct sockaddr_un address = {AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, path);
    return bind(fd, (void *)&address, sizeof address);
}

static int runs(const char *path)
{
    int status;
    pid_t child = fork();
    if (!child) {
        execl(path, path, "-c", ":", NULL);
        _exit(errno);
    }
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    return status ? -1 : 0;
}

/* In a child of its own, for what is forbidden stays so. */
#define APART(...) do { fflush(stdout); pid_t child = fork(); int status; if (!child) { __VA_ARGS__; exit(0); } \
                        waitpid(child, &status, 0); if (status) printf("status %x\n", status); } while (0)

static void rulesets(void)
{
    unsigned long long wide[2] = {READS, 1ull << 60}, handled = READS;
    struct landlock_path_beneath_attr rule = {LANDLOCK_ACCESS_FS_READ_FILE, -1};
    puts("-- rulesets");
    printf("version %d\n", syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 2);
    SAY(syscall(SYS_landlock_create_ruleset, &handled, 8, LANDLOCK_CREATE_RULESET_VERSION));
    SAY(syscall(SYS_landlock_create_ruleset, NULL, 0, 1 << 20));
    SAY(syscall(SYS_landlock_create_ruleset, NULL, 8, 0));
    SAY(syscall(SYS_landlock_create_ruleset, &handled, 4, 0));
    SAY(syscall(SYS_landlock_create_ruleset, &handled, 8192, 0));
    SAY(syscall(SYS_landlock_create_ruleset, (void *)16, 8, 0));
    wide[1] = 0;
    SAY(syscall(SYS_landlock_create_ruleset, wide, 16, 0));
    SAY(create(0));
    SAY(create(1ull << 40));
    int ruleset = create(READS), pipes[2];
    printf("close on exec %d\n", fcntl(ruleset, F_GETFD));
    pipe(pipes);
    SAY(allow(ruleset, ".", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(allow(ruleset, ".", LANDLOCK_ACCESS_FS_WRITE_FILE));
    SAY(allow(ruleset, ".", 0));
    SAY(allow(ruleset, "a/file", READS));
    SAY(allow(ruleset, "none", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(allow(pipes[0], ".", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(allow(999, ".", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 1));
    SAY(syscall(SYS_landlock_add_rule, ruleset, 77, &rule, 0));
    SAY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, (void *)16, 0));
    rule.parent_fd = ruleset;
    SAY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
    rule.parent_fd = pipes[0];
    SAY(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    APART(SAY(syscall(SYS_landlock_restrict_self, ruleset, 1 << 20)));
    APART(SAY(restrict_self(999)));
    APART(SAY(restrict_self(pipes[0])));
    APART(for (int i = 0; i < 16; i++) if (restrict_self(ruleset)) printf("at %d\n", i); SAY(restrict_self(ruleset)));
}

static void uses(unsigned long long handled)
{
    printf("-- all that is handled is %llx, and nothing granted\n", handled);
    int file = open("a/file", O_RDWR), directory = open("a", O_RDONLY | O_DIRECTORY), program = open("/bin/sh", O_RDONLY);
    SAY(restrict_self(create(handled)));
    SAY(opens("a/file", O_RDONLY));
    SAY(opens("a/file", O_WRONLY));
    SAY(opens("a/file", O_RDWR));
    SAY(opens("a/file", O_PATH));
    SAY(opens("a/file", O_WRONLY | O_TRUNC));
    SAY(opens("a", O_RDONLY | O_DIRECTORY));
    SAY(opens("a/new", O_WRONLY | O_CREAT));
    SAY(opens("a/file", O_WRONLY | O_CREAT | O_EXCL));
    SAY(opens("a/none", O_RDONLY));
    SAY(write(file, "x", 1));
    SAY(access("a/file", R_OK | W_OK));
    struct stat status;
    SAY(stat("a/file", &status));
    SAY(chmod("a/file", 0640));
    SAY(truncate("a/file", 1));
    SAY(mkdir("a/dir", 0700));
    SAY(mkdir("a/there", 0700));
    SAY(symlink("x", "a/link"));
    SAY(mkfifo("a/fifo", 0600));
    SAY(mknod("a/node", S_IFREG | 0600, 0));
    SAY(binds("a/socket"));
    SAY(link("a/file", "a/same"));
    SAY(link("a/file", "b/same"));
    SAY(rename("a/file", "a/renamed"));
    SAY(rename("a/renamed", "a/file"));
    SAY(rename("a/file", "b/moved"));
    SAY(rename("b/moved", "a/file"));
    SAY(rename("a/file", "a/file"));
    SAY(renameat2(AT_FDCWD, "a/file", AT_FDCWD, "a/other", RENAME_EXCHANGE));
    SAY(unlink("a/other"));
    SAY(unlink("a/none"));
    SAY(rmdir("a/there"));
    SAY(rmdir("a/none"));
    SAY(runs("/bin/sh"));
    SAY(openat(directory, "file", O_RDONLY) < 0 ? -1 : 0);
    char text[64];
    sprintf(text, "/proc/self/fd/%d", file);
    SAY(opens(text, O_RDONLY));
    int memory = memfd_create("m", 0);
    sprintf(text, "/proc/self/fd/%d", memory);
    SAY(opens(text, O_RDWR));
    SAY(opens("/dev/null", O_RDWR));
    SAY(opens("/proc/self/status", O_RDONLY));
    SAY(chdir("a"));
    (void)program;
}

static void *other(void *unused)
{
    SAY(opens("a/file", O_RDONLY));
    return NULL;
}

static void grants(void)
{
    puts("-- grants");
    pthread_t thread;
    int ruleset = create(ALL);
    SAY(allow(ruleset, "a", ALL));
    SAY(allow(ruleset, "b/file", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(allow(ruleset, "/bin/sh", RUNS & ~LANDLOCK_ACCESS_FS_READ_DIR));
    SAY(allow(ruleset, "/usr", RUNS));
    SAY(allow(ruleset, "/lib64", RUNS));
    SAY(restrict_self(ruleset));
    SAY(opens("a/file", O_RDWR));
    SAY(opens("a/there/deep", O_WRONLY | O_CREAT));
    SAY(opens("a/to-b", O_RDONLY));
    SAY(opens("b/file", O_RDONLY));
    SAY(opens("b/file", O_WRONLY));
    SAY(opens("b/other", O_RDONLY));
    SAY(opens("b", O_RDONLY));
    SAY(mkdir("a/new", 0700));
    SAY(mkdir("b/new", 0700));
    SAY(rename("a/file", "a/there/file"));
    SAY(rename("a/there/file", "b/file"));
    SAY(rename("b/file", "a/file"));
    SAY(rename("a/there", "a/moved"));
    SAY(opens("a/moved/file", O_RDONLY));
    SAY(runs("/bin/sh"));
    SAY(symlink("/bin/sh", "a/sh"));
    SAY(runs("a/sh"));
    pthread_create(&thread, NULL, other, NULL);
    pthread_join(thread, NULL);
    ruleset = create(LANDLOCK_ACCESS_FS_READ_FILE);
    SAY(allow(ruleset, "a/moved", LANDLOCK_ACCESS_FS_READ_FILE));
    APART(SAY(restrict_self(ruleset)); SAY(opens("a/moved/file", O_RDONLY)); SAY(opens("a/new", O_RDONLY));
          SAY(opens("b/file", O_RDONLY)); SAY(opens("a/moved/file", O_WRONLY)); SAY(runs("/bin/sh")));
    SAY(opens("b/file", O_RDONLY));
    APART(SAY(restrict_self(create(LANDLOCK_ACCESS_FS_WRITE_FILE))); SAY(rename("a/moved/file", "a/file")); SAY(mkdir("a/x", 0700)));
}

static void references(void)
{
    puts("-- references");
    int ruleset = create(REFER | LANDLOCK_ACCESS_FS_READ_FILE);
    SAY(allow(ruleset, ".", REFER));
    SAY(allow(ruleset, "b", LANDLOCK_ACCESS_FS_READ_FILE));
    SAY(restrict_self(ruleset));
    SAY(rename("a/file", "b/more"));
    SAY(link("a/file", "b/more"));
    SAY(rename("b/other", "a/less"));
    SAY(rename("a/there", "b/there"));
    SAY(rename("a/file", "a/there/file"));
    SAY(link("a/other", "a/there/other"));
}

static void looks(pid_t pid)
{
    char name[64], byte;
    int descriptor = syscall(SYS_pidfd_open, pid, 0);
    struct iovec here = {&byte, 1}, there = {&shared_with_children, 1};
    SAY(syscall(SYS_process_vm_readv, pid, &here, 1ul, &there, 1ul, 0ul));
    SAY(syscall(SYS_process_vm_writev, pid, &here, 1ul, &there, 1ul, 0ul));
    SAY(syscall(SYS_pidfd_getfd, descriptor, 1, 0));
    SAY(syscall(SYS_kcmp, pid, getpid(), 0, 1, 1) < 0 ? -1 : 0);
    for (const char **entry = (const char *[]){"root", "cwd", "exe", NULL}; *entry; entry++) {
        sprintf(name, "/proc/%d/%s", pid, *entry);
        say(*entry, opens(name, O_RDONLY));
    }
    close(descriptor);
}

/* Who is confined looks into nobody who is less so. */
static void processes(void)
{
    puts("-- processes");
    int up[2], down[2];
    pid_t parent = getpid();
    pipe(up);
    pipe(down);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        char byte = 0;
        restrict_self(create(LANDLOCK_ACCESS_FS_MAKE_FIFO));
        puts("a parent that is not");
        looks(parent);
        APART(puts("a parent that is as much"); looks(getppid()));
        APART(puts("a parent that is less"); restrict_self(create(LANDLOCK_ACCESS_FS_MAKE_FIFO)); looks(getppid()));
        fflush(stdout);
        write(up[1], &byte, 1);
        read(down[0], &byte, 1);
        exit(0);
    }
    char byte;
    read(up[0], &byte, 1);
    puts("a child that is");
    looks(child);
    write(down[1], &byte, 1);
    waitpid(child, NULL, 0);
}

static void tree(void)
{
    system("rm -rf a b; mkdir -p a/there b; echo 1 >a/file; echo 2 >a/other; echo 3 >b/file; echo 4 >b/other; ln -s ../b/file a/to-b");
}

static void *confined(void *unused)
{
    SAY(restrict_self(create(READS)));
    SAY(opens("a/file", O_RDONLY));
    return NULL;
}

int main(void)
{
    pthread_t thread;
    tree();
    rulesets();
    APART(uses(ALL));
    tree();
    APART(uses(ALL & ~REFER));
    tree();
    APART(uses(LANDLOCK_ACCESS_FS_WRITE_FILE));
    tree();
    APART(grants());
    tree();
    APART(references());
    APART(processes());
    puts("-- one thread of two");
    fflush(stdout);
    pthread_create(&thread, NULL, confined, NULL);
    pthread_join(thread, NULL);
    SAY(opens("a/file", O_RDONLY));
    return 0;
}
