/* Terminals of a program's own making: sessions, groups, stops and hang-up.  Prints no number that differs from run to run. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int master, report;
static char name[64];

static void say(const char *what, long value) {
    if (value < 0)
        dprintf(report, "%s: %s\n", what, strerrorname_np(errno));
    else
        dprintf(report, "%s: %ld\n", what, value);
}

static const char *fate(int status) {
    static char text[64];
    if (WIFSTOPPED(status)) snprintf(text, sizeof text, "stopped by SIG%s", sigabbrev_np(WSTOPSIG(status)));
    else if (WIFSIGNALED(status)) snprintf(text, sizeof text, "ended by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    return text;
}

/* A child in a group of its own runs `work` on the terminal; what becomes of it. */
static void job(const char *what, int (*work)(int), int fd, int foreground) {
    int ready[2], status;
    pipe(ready);
    pid_t pid = fork();
    if (!pid) {
        char c;
        setpgid(0, 0);
        close(ready[1]);
        read(ready[0], &c, 1);
        _exit(work(fd));
    }
    setpgid(pid, pid);
    if (foreground) say("tcsetpgrp of a job", tcsetpgrp(fd, pid));
    close(ready[1]);
    close(ready[0]);
    waitpid(pid, &status, WUNTRACED);
    dprintf(report, "%s: %s\n", what, fate(status));
    if (WIFSTOPPED(status)) {
        say("its group is there", kill(-pid, 0));
        kill(-pid, SIGKILL);
        kill(-pid, SIGCONT);
        waitpid(pid, &status, 0);
    }
    if (foreground) {
        signal(SIGTTOU, SIG_IGN);
        say("tcsetpgrp back", tcsetpgrp(fd, getpgrp()));
        signal(SIGTTOU, SIG_DFL);
    }
}

static int reads(int fd) { char c; return read(fd, &c, 1) == 1 ? 0 : errno; }
static int writes(int fd) { return write(fd, "x", 1) == 1 ? 0 : errno; }
static int sets(int fd) { return tcsetpgrp(fd, getpgrp()) == 0 ? 0 : errno; }
static int sets_ignoring(int fd) { signal(SIGTTOU, SIG_IGN); return sets(fd); }
static int reads_ignoring(int fd) { signal(SIGTTIN, SIG_IGN); return reads(fd); }
static int modes(int fd) { struct termios t; tcgetattr(fd, &t); return tcsetattr(fd, TCSANOW, &t) == 0 ? 0 : errno; }
static int asks(int fd) { return tcgetpgrp(fd) == getpgrp(); }
static int interrupted(int fd) { write(master, "\003", 1); for (;;) pause(); }
static int suspended(int fd) { write(master, "\032", 1); for (;;) pause(); }
static int asks_for_another(int fd) { setsid(); return tcgetpgrp(fd) < 0 ? errno : 0; }

static void hung_up(int number) { dprintf(report, "SIGHUP\n"); _exit(0); }

static int leader(void) {
    struct stat a, b;
    say("setsid", setsid() == getpid());
    say("/dev/tty before", open("/dev/tty", O_RDWR));
    int other = open(name, O_RDWR | O_NOCTTY);
    say("O_NOCTTY claims nothing", tcgetsid(other));
    int fd = open(name, O_RDWR);
    say("opening claims", tcgetsid(fd) == getpid());
    say("TIOCSCTTY again", ioctl(fd, TIOCSCTTY, 0));
    int tty = open("/dev/tty", O_RDWR);
    say("/dev/tty", tty > fd && isatty(tty) && tcgetsid(tty) == getpid());
    fstat(other, &a), stat(ttyname(fd), &b);
    say("ttyname", !strcmp(ttyname(fd), name) && a.st_ino == b.st_ino && a.st_rdev == b.st_rdev);
    say("the master tells the foreground", tcgetpgrp(master) == getpgrp());
    say("in the foreground", tcgetpgrp(fd) == getpgrp());
    job("a background reader", reads, fd, 0);
    job("a background writer", writes, fd, 0);
    struct termios t;
    tcgetattr(fd, &t);
    t.c_lflag |= TOSTOP;
    tcsetattr(fd, TCSANOW, &t);
    job("a background writer with TOSTOP", writes, fd, 0);
    job("a background setter of modes", modes, fd, 0);
    job("a background setter of the group", sets, fd, 0);
    job("... that ignores SIGTTOU", sets_ignoring, fd, 0);
    signal(SIGTTOU, SIG_IGN);
    say("tcsetpgrp back", tcsetpgrp(fd, getpgrp()));
    signal(SIGTTOU, SIG_DFL);
    job("a background reader that ignores SIGTTIN", reads_ignoring, fd, 0);
    job("a foreground job", asks, fd, 1);
    job("a job that is interrupted", interrupted, fd, 1);
    job("a job that is suspended", suspended, fd, 1);
    job("a job with no terminal", asks_for_another, fd, 0);
    say("tcsetpgrp of nobody", tcsetpgrp(fd, 1 << 21));
    say("tcsetpgrp of less", tcsetpgrp(fd, -5));
    errno = 0;
    int bad = ioctl(fd, TIOCSPGRP, 8);
    say("tcsetpgrp from nowhere", bad);
    int null = open("/dev/null", O_RDWR);
    say("tcsetpgrp of no terminal", tcsetpgrp(null, getpgrp()));
    say("TIOCLINUX", ioctl(fd, TIOCLINUX, "\6"));
    signal(SIGHUP, hung_up);
    dprintf(report, "ready\n");
    write(fd, "!", 1);
    close(master);
    for (;;) pause();
}

int main(void) {
    int to[2], number = -1, status;
    char text[8192], c = 0;
    pipe(to);
    report = to[1];
    master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master);
    unlockpt(master);
    strcpy(name, ptsname(master));
    ioctl(master, TIOCGPTN, &number);
    char path[64];
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    say("its number is its name", !strcmp(path, name));
    int peer = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    say("TIOCGPTPEER", peer >= 0 && isatty(peer) && !strcmp(ttyname(peer), name));
    close(peer);
    pid_t pid = fork();
    if (!pid) {
        close(to[0]);
        _exit(leader());
    }
    close(to[1]);
    report = 1;
    while (c != '!') if (read(master, &c, 1) != 1) break;
    close(master);
    FILE *in = fdopen(to[0], "r");
    while (fgets(text, sizeof text, in)) fputs(text, stdout);
    fflush(stdout);
    waitpid(pid, &status, 0);
    say("the name is gone", access(name, F_OK));
    printf("leader: %s\n", fate(status));
    return 0;
}
