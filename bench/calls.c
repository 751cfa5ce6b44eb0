/*
 * One system call, or one small group of them, many times over, timed from inside.
 *
 *     calls ROW COUNT FILE     prints nanoseconds for one round of ROW, measured over COUNT rounds
 *     calls exit               ends at once: what fork+exec+wait runs
 *
 * There is no C library in here: what is measured is the call that the row is named after and nothing that a
 * library adds, and a build with -DGATE='"int $0x80"' has no `syscall` instruction left in it, start-up included.
 */
#include <asm/unistd_64.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/time.h>

#ifndef GATE
#define GATE "syscall"
#endif

#define BATCHES 16 /* a figure is the median of this many, so that a moment taken by someone else is not in it */

static char *self, *file;
static int fd, there[2], back[2];
static long echo;

/*
 * Kept out of line so that every row goes through one site that is followed by a return, as in a C library. The
 * registers that `syscall` spoils are given up for both gates: a library ported to `int 0x80` keeps that list too.
 */
static __attribute__((noipa)) long call(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;

    __asm__ volatile(GATE
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL0(nr) call(nr, 0, 0, 0, 0, 0, 0)
#define CALL1(nr, a) call(nr, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(nr, a, b) call(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(nr, a, b, c) call(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(nr, a, b, c, d) call(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static _Noreturn void leave(int status)
{
    CALL1(__NR_exit_group, status);
    __builtin_trap(); /* a gate that leads elsewhere must not go unnoticed */
}

static long length(const char *text)
{
    const char *end = text;

    while (*end)
        end++;
    return end - text;
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static long number(const char *text)
{
    long value = 0;

    while (*text >= '0' && *text <= '9')
        value = value * 10 + (*text++ - '0');
    return value;
}

/* Decimal digits of value, at least `least` of them, written so that they end before `end`. */
static char *digits(char *end, unsigned long value, int least)
{
    do {
        *--end = '0' + value % 10;
        value /= 10;
    } while (--least > 0 || value);
    return end;
}

static _Noreturn void fail(const char *what, long number)
{
    char room[24], *text = digits(room + sizeof room, number < 0 ? -number : number, 1);

    CALL3(__NR_write, 2, "calls: ", 7);
    CALL3(__NR_write, 2, what, length(what));
    if (number) {
        CALL3(__NR_write, 2, ": ", 2);
        CALL3(__NR_write, 2, text, room + sizeof room - text);
    }
    CALL3(__NR_write, 2, "\n", 1);
    leave(1);
}

/* A failed call ends the program: its time is not the time of the row. */
static long must(const char *what, long result)
{
    if (result < 0)
        fail(what, result);
    return result;
}

static void nothing(void)
{
}

static void getpid_once(void)
{
    must("getpid", CALL0(__NR_getpid));
}

static void open_zero(void)
{
    fd = must("open /dev/zero", CALL2(__NR_open, "/dev/zero", O_RDONLY));
}

static void read_once(void)
{
    char byte;

    must("read", CALL3(__NR_read, fd, &byte, 1));
}

static void open_null(void)
{
    fd = must("open /dev/null", CALL2(__NR_open, "/dev/null", O_WRONLY));
}

static void write_once(void)
{
    must("write", CALL3(__NR_write, fd, "x", 1));
}

static void open_file(void)
{
    fd = must("open", CALL2(__NR_open, file, O_RDONLY));
}

static void fstat_once(void)
{
    char buffer[256] __attribute__((aligned(16)));

    must("fstat", CALL2(__NR_fstat, fd, buffer));
}

static void stat_once(void)
{
    char buffer[256] __attribute__((aligned(16)));

    must("stat", CALL2(__NR_stat, file, buffer));
}

static void open_close_once(void)
{
    must("close", CALL1(__NR_close, must("open", CALL2(__NR_open, file, O_RDONLY))));
}

static void mmap_munmap_once(void)
{
    long at = must("mmap", call(__NR_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

    must("munmap", CALL2(__NR_munmap, at, 4096));
}

static void reap(long pid)
{
    int status = 0;

    must("wait4", CALL4(__NR_wait4, pid, &status, 0, 0));
    if (status)
        fail("a child ended with wait status", status);
}

static void start_echo(void)
{
    char byte;

    must("pipe", CALL1(__NR_pipe, there));
    must("pipe", CALL1(__NR_pipe, back));
    echo = must("fork", CALL0(__NR_fork));
    if (echo == 0) {
        CALL1(__NR_close, there[1]);
        CALL1(__NR_close, back[0]);
        while (CALL3(__NR_read, there[0], &byte, 1) == 1)
            CALL3(__NR_write, back[1], &byte, 1);
        leave(0);
    }
    CALL1(__NR_close, there[0]);
    CALL1(__NR_close, back[1]);
}

static void pipe_once(void)
{
    char byte = 'x';

    must("write", CALL3(__NR_write, there[1], &byte, 1));
    if (must("read", CALL3(__NR_read, back[0], &byte, 1)) != 1)
        fail("the echo process has gone", 0);
}

static void end_echo(void)
{
    CALL1(__NR_close, there[1]);
    reap(echo);
}

static void fork_wait_once(void)
{
    long pid = must("fork", CALL0(__NR_fork));

    if (pid == 0)
        leave(0);
    reap(pid);
}

static void fork_exec_wait_once(void)
{
    char *arguments[] = {self, "exit", 0}, *environment[] = {0};
    long pid = must("fork", CALL0(__NR_fork));

    if (pid == 0) {
        CALL3(__NR_execve, self, arguments, environment);
        leave(127);
    }
    reap(pid);
}

static const struct {
    const char *name;
    void (*before)(void), (*once)(void), (*after)(void);
} rows[] = {
    {"getpid", nothing, getpid_once, nothing},
    {"read", open_zero, read_once, nothing},
    {"write", open_null, write_once, nothing},
    {"fstat", open_file, fstat_once, nothing},
    {"stat", nothing, stat_once, nothing},
    {"open+close", nothing, open_close_once, nothing},
    {"mmap+munmap", nothing, mmap_munmap_once, nothing},
    {"pipe", start_echo, pipe_once, end_echo},
    {"fork+wait", nothing, fork_wait_once, nothing},
    {"fork+exec+wait", nothing, fork_exec_wait_once, nothing},
};

/* Two calls of this stand around many rounds of a row, so it need not be the vDSO's quick one. */
static unsigned long now(void)
{
    struct timespec time;

    must("clock_gettime", CALL2(__NR_clock_gettime, CLOCK_MONOTONIC, &time));
    return time.tv_sec * 1000000000ul + time.tv_nsec;
}

static void insert(unsigned long *sorted, long length, unsigned long value)
{
    for (; length > 0 && sorted[length - 1] > value; length--)
        sorted[length] = sorted[length - 1];
    sorted[length] = value;
}

/* Nanoseconds that `each` rounds took in the median of the batches. */
static unsigned long measure(void (*once)(void), long batches, long each)
{
    unsigned long sorted[BATCHES], start;
    long batch, i;

    for (batch = 0; batch < batches; batch++) {
        start = now();
        for (i = 0; i < each; i++)
            once();
        insert(sorted, batch, now() - start);
    }
    return sorted[batches / 2];
}

static void print(unsigned long nanoseconds, unsigned long count)
{
    char room[48], *text = room + sizeof room;

    *--text = '\n';
    text = digits(text, nanoseconds % count * 1000 / count, 3);
    *--text = '.';
    text = digits(text, nanoseconds / count, 1);
    must("write", CALL3(__NR_write, 1, text, room + sizeof room - text));
}

__attribute__((used)) static _Noreturn void begin(long *stack)
{
    long argc = stack[0], count, batches, i;
    char **argv = (char **)(stack + 1);
    unsigned int row;

    if (argc > 1 && same(argv[1], "exit"))
        leave(0);
    if (argc != 4 || (count = number(argv[2])) < 1)
        fail("usage: calls ROW COUNT FILE", 0);
    batches = count < BATCHES ? count : BATCHES;
    self = argv[0];
    file = argv[3];
    for (row = 0; row < sizeof rows / sizeof *rows; row++)
        if (same(argv[1], rows[row].name)) {
            rows[row].before();
            for (i = 0; i <= count / 10; i++) /* warm caches, and sites that a runner rewrites when first used */
                rows[row].once();
            print(measure(rows[row].once, batches, count / batches), count / batches);
            rows[row].after();
            leave(0);
        }
    fail("no such row", 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call begin\n");
