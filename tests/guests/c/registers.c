/* registers HOW: what a program can tell about the gate from its registers, its code and its signals. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, FLAGS, COUNT };

static const char *names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
			      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "flags"};

/* Loads all of `in`, makes the call, stores all to `out`: every register is live behind the site. */
void probe(const uint64_t *in, uint64_t *out);
extern char probe_site[];
long dead(long number), dead_vfork(void);
extern char dead_site[];
long thread_call(long flags, void *stack, int *parent_tid, int *child_tid);
void restorer(void);

__asm__(".text\n"
	"probe: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
	"mov %rdi, %rax\n"
	"mov 8(%rax), %rbx; mov 16(%rax), %rcx; mov 24(%rax), %rdx; mov 32(%rax), %rsi; mov 40(%rax), %rdi\n"
	"mov 48(%rax), %rbp; mov 56(%rax), %r8; mov 64(%rax), %r9; mov 72(%rax), %r10; mov 80(%rax), %r11\n"
	"mov 88(%rax), %r12; mov 96(%rax), %r13; mov 104(%rax), %r14; mov 112(%rax), %r15\n"
	"pushq 120(%rax); popfq\n"
	"mov (%rax), %rax\n"
	"probe_site: int $0x80\n"
	"pushfq\n"
	"xchg %rax, 8(%rsp)\n"
	"mov %rbx, 8(%rax); mov %rcx, 16(%rax); mov %rdx, 24(%rax); mov %rsi, 32(%rax); mov %rdi, 40(%rax)\n"
	"mov %rbp, 48(%rax); mov %r8, 56(%rax); mov %r9, 64(%rax); mov %r10, 72(%rax); mov %r11, 80(%rax)\n"
	"mov %r12, 88(%rax); mov %r13, 96(%rax); mov %r14, 104(%rax); mov %r15, 112(%rax)\n"
	"pop %rcx; mov %rcx, 120(%rax); pop %rcx; mov %rcx, (%rax); cld\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
	"dead: mov %rdi, %rax\n"
	"dead_site: int $0x80\n"
	"xor %ecx, %ecx; xor %r11d, %r11d; ret\n"
	"dead_vfork: pop %rdx; mov $58, %eax; int $0x80; push %rdx; xor %ecx, %ecx; xor %r11d, %r11d; ret\n"
	"thread_call: mov %rcx, %r10; xor %r8d, %r8d; mov $56, %eax; int $0x80\n"
	"test %rax, %rax; jnz 1f; pop %rax; call *%rax; xor %edi, %edi; mov $60, %eax; int $0x80; hlt\n"
	"1: xor %ecx, %ecx; xor %r11d, %r11d; ret\n"
	"restorer: mov $15, %eax; int $0x80; hlt\n");

static uint64_t in[COUNT], out[COUNT];

/* One call with patterns in whatever is not an argument; 0 unless a register changed, which is told. */
static int check(const char *what, long number, long a, long b, long c, long d)
{
	int wrong = 0;
	for (int i = 0; i < COUNT; i++)
		in[i] = 0x1122334400000000ull * (i + 1) ^ 0xfedcba9876543210ull;
	in[RAX] = number, in[RDI] = a, in[RSI] = b, in[RDX] = c, in[R10] = d, in[R8] = in[R9] = 0;
	in[FLAGS] = 0x202 | 0x1 | 0x40 | 0x400 | 0x800; /* CF ZF DF OF */
	probe(in, out);
	for (int i = RBX; i < COUNT; i++)
		if (in[i] != out[i])
			printf("%s: %s was %#lx, is %#lx\n", what, names[i], in[i], out[i]), wrong = 1;
	fflush(stdout);
	return wrong;
}

static int expect(const char *what, long number, long a, long b, long c, long d, long wanted)
{
	int wrong = check(what, number, a, b, c, d);
	if ((long)out[RAX] != wanted)
		printf("%s: gave %ld, not %ld\n", what, (long)out[RAX], wanted), wrong = 1;
	return wrong;
}

static void registers(void)
{
	int fds[2], status;
	char path[] = "/etc/passwd", none[] = "/none";
	for (int round = 0; round < 5; round++) {
		expect("getpid", SYS_getpid, 0, 0, 0, 0, getpid());
		expect("getuid", SYS_getuid, 0, 0, 0, 0, getuid());
		expect("read", SYS_read, 77, 0, 0, 0, -EBADF);
		expect("openat", SYS_openat, AT_FDCWD, (long)none, O_RDONLY, 0, -ENOENT);
		expect("access", SYS_access, (long)path, 0, 0, 0, 0);
		expect("none such", 499, 1, 2, 3, 4, -ENOSYS);
		check("mmap", SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS);
		check("openat, found", SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0);
		expect("close", SYS_close, out[RAX], 0, 0, 0, 0);
		int wrong = check("fork", SYS_fork, 0, 0, 0, 0);
		if (out[RAX] == 0)
			_exit(wrong ? 1 : 5);
		waitpid(out[RAX], &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 5)
			printf("fork: the child ended with %#x\n", status);
	}
	unsigned char *site = (unsigned char *)probe_site;
	printf("%02x %02x\n", site[0], site[1]);
}

static void rewritten(void)
{
	unsigned char *site = (unsigned char *)dead_site;
	long right = syscall(SYS_getpid);
	for (int i = 0; i < 5; i++)
		if (dead(SYS_getpid) != right)
			printf("wrong result in round %d\n", i);
	printf("%02x %02x\n", site[0], site[1]);
}

static void mixed(void)
{
	int fds[2];
	char byte, sum = 0;
	syscall(SYS_pipe2, fds, 0);
	for (int i = 0; i < 20; i++) {
		byte = i;
		if (i & 1)
			expect("write", SYS_write, fds[1], (long)&byte, 1, 0, 1);
		else
			syscall(SYS_write, fds[1], &byte, 1);
		byte = 99;
		if (i & 2)
			expect("read", SYS_read, fds[0], (long)&byte, 1, 0, 1);
		else
			syscall(SYS_read, fds[0], &byte, 1);
		sum += byte == i && dead(SYS_getpid) == getpid();
	}
	printf("%d right\n", sum);
}

/* Sites in mappings of a file: what the memory holds after a call, and what the file does. */
static void mapped(void)
{
	static const unsigned char code[] = {0xb8, 0x27, 0, 0, 0, 0xcd, 0x80, 0x31, 0xc9, 0x45, 0x31, 0xdb, 0xc3};
	unsigned char back[16];
	for (int shared = 1; shared >= 0; shared--) {
		int fd = open("/tmp/code", O_RDWR | O_CREAT | O_TRUNC, 0755);
		write(fd, code, sizeof code);
		ftruncate(fd, 4096);
		unsigned char *map = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			printf("mmap: %s\n", strerror(errno));
		int right = 0;
		for (int i = 0; i < 5; i++)
			right += ((int (*)(void))map)() == getpid();
		pread(fd, back, sizeof back, 0);
		printf("%s: %d right, memory %02x %02x, file %02x %02x\n", shared ? "shared" : "private", right, map[5], map[6],
		       back[5], back[6]);
	}
}

static volatile int handled;
static int pipe_fds[2];

static void on_alarm(int number)
{
	if (++handled == 3)
		syscall(SYS_write, pipe_fds[1], "x", 1);
}

struct kernel_action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static void ticks(long flags)
{
	struct kernel_action action = {on_alarm, 0x04000000 | flags, restorer, 0};
	struct itimerval every = {{0, 20000}, {0, 20000}};
	handled = 0;
	syscall(SYS_rt_sigaction, SIGALRM, &action, 0, 8);
	setitimer(ITIMER_REAL, &every, 0);
}

static void quiet(void)
{
	struct itimerval never = {{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &never, 0);
}

static void interrupted(void)
{
	char byte;
	pipe(pipe_fds);
	ticks(0);
	expect("interrupted", SYS_read, pipe_fds[0], (long)&byte, 1, 0, -EINTR);
	quiet();
	printf("interrupted after %s\n", handled ? "signals" : "none");
	if (handled >= 3)
		read(pipe_fds[0], &byte, 1);
	ticks(SA_RESTART);
	expect("restarted", SYS_read, pipe_fds[0], (long)&byte, 1, 0, 1);
	quiet();
	printf("restarted after %s\n", handled >= 3 ? "signals" : "few");
	ticks(SA_RESTART);
	struct timespec second = {1, 0};
	expect("nanosleep", SYS_nanosleep, (long)&second, 0, 0, 0, -EINTR);
	quiet();
}

static void on_storm(int number)
{
	handled++;
	if (number == SIGUSR1 && dead(SYS_getpid) != getpid())
		printf("wrong result in a handler\n");
}

/* Calls while another process signals as fast as it can, handlers making calls too. */
static void stormy(void)
{
	struct kernel_action action = {on_storm, 0x04000000 | SA_RESTART, restorer, 0};
	char path[] = "/etc/passwd", none[] = "/none";
	int wrong = 0, forks = 0, status;
	pid_t me = getpid();
	syscall(SYS_rt_sigaction, SIGUSR1, &action, 0, 8);
	syscall(SYS_rt_sigaction, SIGUSR2, &action, 0, 8);
	pid_t pid = fork();
	if (pid == 0)
		for (;;) {
			kill(me, SIGUSR1);
			kill(me, SIGUSR2);
			usleep(3000);
			if (getppid() != me)
				_exit(0);
		}
	for (int i = 0; i < 250 && !wrong; i++) {
		wrong |= expect("getpid", SYS_getpid, 0, 0, 0, 0, me);
		wrong |= expect("read", SYS_read, 77, 0, 0, 0, -EBADF);
		wrong |= expect("openat", SYS_openat, AT_FDCWD, (long)none, O_RDONLY, 0, -ENOENT);
		wrong |= expect("access", SYS_access, (long)path, 0, 0, 0, 0);
		if (i % 10 == 0) {
			int bad = check("fork", SYS_fork, 0, 0, 0, 0);
			if (out[RAX] == 0)
				_exit(bad ? 1 : 5);
			forks += waitpid(out[RAX], &status, 0) > 0 && status == 0x500;
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf("%d forks, signals %s\n", forks, handled > 20 ? "many" : "few");
}

/* A sleeper that is stopped and continued sleeps on, by restart_syscall(2). */
static void stopped(void)
{
	int fds[2], status;
	char byte;
	pipe(fds);
	pid_t pid = fork();
	if (pid == 0) {
		struct timespec while_ = {0, 400000000};
		write(fds[1], "x", 1);
		_exit(expect("nanosleep", SYS_nanosleep, (long)&while_, 0, 0, 0, 0) ? 1 : 6);
	}
	read(fds[0], &byte, 1);
	for (int i = 0; i < 5; i++) {
		usleep(20000);
		kill(pid, SIGSTOP);
		waitpid(pid, &status, WUNTRACED);
		kill(pid, SIGCONT);
	}
	waitpid(pid, &status, 0);
	printf("ended with %#x\n", status);
}

static volatile int thread_number, thread_result;

static void in_thread(void)
{
	thread_number = dead(SYS_gettid);
	thread_result = dead(SYS_getpid);
}

static void births(const char *self)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status, ended = 1;
	pid_t pid;
	if ((pid = dead(SYS_fork)) == 0)
		_exit(11);
	waitpid(pid, &status, 0);
	printf("fork %d\n", WEXITSTATUS(status));
	if ((pid = dead_vfork()) == 0)
		_exit(12);
	waitpid(pid, &status, 0);
	printf("vfork %d\n", WEXITSTATUS(status));
	if ((pid = dead_vfork()) == 0) {
		char *argv[] = {"registers", "exit13", 0};
		execve(self, argv, 0);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	printf("vfork and execve %d\n", WEXITSTATUS(status));
	void **top = (void **)(stack + sizeof stack - 64);
	*top = (void *)in_thread;
	long tid = thread_call(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
				       CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID,
			       top, 0, &ended);
	while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST))
		sched_yield();
	printf("thread %s\n", tid > 0 && thread_number == tid && thread_result == getpid() ? "right" : "wrong");
	fflush(stdout);
	char *argv[] = {"registers", "exit13", 0};
	check("execve", SYS_execve, (long)self, (long)argv, 0, 0);
	printf("execve gave %ld\n", (long)out[RAX]);
}

static volatile int traps;

static void on_trap(int number)
{
	traps++;
}

/* The gate's own SIGTRAP and SIGSEGV are none of the program's business. */
static void dispositions(int number)
{
	sigset_t set, now;
	struct sigaction action = {.sa_handler = on_trap}, is;
	sigaction(number, &action, 0);
	expect("getpid", SYS_getpid, 0, 0, 0, 0, getpid());
	printf("handled %d\n", traps);
	raise(number);
	printf("handled %d\n", traps);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_BLOCK, &set, 0);
	expect("getpid", SYS_getpid, 0, 0, 0, 0, getpid());
	sigprocmask(SIG_BLOCK, 0, &now);
	sigaction(number, 0, &is);
	printf("blocked %d, handler %s\n", sigismember(&now, number), is.sa_handler == on_trap ? "kept" : "lost");
	sigprocmask(SIG_UNBLOCK, &set, 0);
	signal(number, SIG_IGN);
	expect("getpid", SYS_getpid, 0, 0, 0, 0, getpid());
	sigaction(number, 0, &is);
	printf("ignored %s\n", is.sa_handler == SIG_IGN ? "still" : "no more");
}

static void breakpoint(void)
{
	signal(SIGTRAP, on_trap);
	__asm__ volatile("int3");
	printf("handled %d\n", traps);
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	if (!strcmp(how, "exit13"))
		return 13;
	if (!strcmp(how, "all"))
		registers();
	else if (!strcmp(how, "rewritten"))
		rewritten();
	else if (!strcmp(how, "mixed"))
		mixed();
	else if (!strcmp(how, "mapped"))
		mapped();
	else if (!strcmp(how, "interrupted"))
		interrupted();
	else if (!strcmp(how, "stormy"))
		stormy();
	else if (!strcmp(how, "stopped"))
		stopped();
	else if (!strcmp(how, "births"))
		births(argv[2]);
	else if (!strcmp(how, "trap"))
		dispositions(SIGTRAP);
	else if (!strcmp(how, "segv"))
		dispositions(SIGSEGV);
	else if (!strcmp(how, "int3"))
		breakpoint();
	else
		return 2;
	return 0;
}
