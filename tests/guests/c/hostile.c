/* hostile HOW [ARG...]: one way each of leaving the sandbox, or of breaking its supervisor. */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static char stacks[2][65536];
static volatile int stop;
static const char getpid_code[] = "\xb8\x27\0\0\0\xcd\x80\x31\xc9\x45\x31\xdb\xc3"; /* mov $39,%eax; int $0x80; ... ret */
enum { SITE = 5 };

static const char *result(long value)
{
	return value < 0 ? strerrorname_np(errno) : "done";
}

/* Every way of naming the process group that leads the session: the host's. */
static void session(void)
{
	int group = getsid(0);
	if (group <= 1)
		group = atoi(getenv("SESSION"));
	printf("getsid %d\n", getsid(0) == group && group != 1);
	printf("kill %s\n", result(kill(-group, SIGTERM)));
	printf("setpriority %s\n", result(setpriority(1, group, 5)));
	printf("setown %s\n", result(fcntl(0, F_SETOWN, -group)));
	printf("setpgid %s\n", result(setpgid(0, group)));
}

static int kill_by_pidfd(void *unused)
{
	while (!stop)
		syscall(SYS_pidfd_send_signal, 3, SIGKILL, 0, 0);
	return 0;
}

/* Children killed by another thread before their parent's fork is announced. */
static void stillborn(void)
{
	time_t end = time(0) + 2;
	if (fork()) { /* not init, whose stops are seen first */
		wait(0);
		return;
	}
	clone(kill_by_pidfd, stacks[0] + sizeof *stacks, THREAD, 0);
	while (time(0) < end) {
		int pidfd, pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
		if (pid == 0)
			_exit(0);
		waitpid(pid, 0, 0);
		close(pidfd);
	}
	stop = 1;
	int pids = 0;
	struct dirent *entry;
	for (DIR *proc = opendir("/proc"); (entry = readdir(proc));)
		pids += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
	printf("%d processes\n", pids);
}

/* A lease makes whoever opens or truncates the file wait: that must not be the supervisor. */
static void lease(void)
{
	int fd = open("/tmp/leased", O_CREAT | O_RDWR, 0644);
	signal(SIGIO, SIG_IGN);
	printf("lease %s\n", result(fcntl(fd, F_SETLEASE, F_WRLCK)));
	if (fork() == 0) {
		truncate("/tmp/leased", 5);
		_exit(0);
	}
	for (int i = 0; i < 50; i++)
		access("/tmp", F_OK), usleep(10000);
	close(fd);
	wait(0);
	printf("served\n");
}

/* A script executed with no room below the stack pointer. */
static void no_stack(void)
{
	static char *argv[] = {"x", 0};
	long status;
	int fd = open("/tmp/script", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	write(fd, "#!/bin/sh\nexit 0\n", 17);
	close(fd);
	__asm__ volatile("mov %%rsp, %%r12; xor %%esp, %%esp; syscall; mov %%r12, %%rsp"
			 : "=a"(status)
			 : "a"(59), "D"("/tmp/script"), "S"(argv), "d"(0)
			 : "rcx", "r11", "r12", "memory");
	printf("execve %ld\n", status);
}

static void say(int number, siginfo_t *info, void *context)
{
	printf("%s of %d\n", sigabbrev_np(number), info->si_pid);
}

/* A signal to itself that says whatever it likes. */
static void own_word(void)
{
	siginfo_t info = {.si_signo = SIGCHLD, .si_code = CLD_EXITED};
	struct sigaction action = {.sa_sigaction = say, .sa_flags = SA_SIGINFO};
	info.si_pid = -5;
	sigaction(SIGCHLD, &action, 0);
	syscall(SYS_rt_sigqueueinfo, getpid(), SIGCHLD, &info);
}

static long without_stack(long number, long first, long second, long third)
{
	long value;
	__asm__ volatile("mov %%rsp, %%r12; mov $16, %%esp; syscall; mov %%r12, %%rsp"
			 : "=a"(value)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "r12", "memory");
	return value;
}

/* Calls for which something is put below the stack. */
static void calls_without_stack(void)
{
	static char name[20];
	static struct mmsghdr header = {{name, sizeof name}};
	int ends[2];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
	write(ends[1], "x", 1);
	printf("open %ld\n", without_stack(SYS_open, (long)"/bin", O_PATH, 0));
	printf("recvmsg %ld\n", without_stack(SYS_recvmsg, ends[0], (long)&header, MSG_DONTWAIT));
	printf("recvmmsg %ld\n", without_stack(SYS_recvmmsg, ends[0], (long)&header, 1));
}

/* What can be done with a file of the host's that was handed in as standard input. */
static void handed_in(void)
{
	struct timespec past[2] = {{1, 0}, {1, 0}};
	printf("link %s\n", result(linkat(AT_FDCWD, "/proc/self/fd/0", AT_FDCWD, "/tmp/linked", AT_SYMLINK_FOLLOW)));
	printf("link descriptor %s\n", result(linkat(0, "", AT_FDCWD, "/tmp/linked2", AT_EMPTY_PATH)));
	printf("utimens %s\n", result(futimens(0, past)));
	printf("utimens by name %s\n", result(utimensat(AT_FDCWD, "/proc/self/fd/0", past, 0)));
	printf("chmod %s\n", result(fchmod(0, 0777)));
	printf("reopen for writing %s\n", result(open("/proc/self/fd/0", O_WRONLY)));
	printf("truncate %s\n", result(truncate("/proc/self/fd/0", 0)));
}

/* Reading back through a descriptor handed in for writing. */
static void read_back(void)
{
	char name[32];
	dprintf(2, "reopen for reading %s\n", result(open("/proc/self/fd/1", O_RDONLY)));
	int looked = open("/proc/self/fd/1", O_PATH);
	sprintf(name, "/proc/self/fd/%d", looked);
	dprintf(2, "look at it %s\n", result(looked));
	dprintf(2, "reopen that for reading %s\n", result(open(name, O_RDONLY)));
	dprintf(2, "execute that %s\n", result(execveat(looked, "", (char *[]){"x", 0}, environ, AT_EMPTY_PATH)));
}

static void null_selector_in_ds(void) { asm volatile("mov %0, %%ds" : : "r"(1)); }
static void null_selector_in_es(void) { asm volatile("mov %0, %%es" : : "r"(2)); }
static void base_of_gs_in_the_kernels_half(void) { asm volatile("wrgsbase %0" : : "r"(0xffff800000000000)); }

/* Registers that ptrace(2) shows and does not take back. */
static void segments(void)
{
	void (*load[])(void) = {null_selector_in_ds, null_selector_in_es, base_of_gs_in_the_kernels_half};
	for (int i = 0; i < 2 + !!(getauxval(AT_HWCAP2) & 2); i++) {
		int status;
		if (fork() == 0) {
			load[i]();
			_exit(kill(getppid(), 0) ? 1 : 42);
		}
		wait(&status);
		printf("%x\n", status);
	}
}

static void clock_of(const char *whose, pid_t pid)
{
	clockid_t clock = (int)(~(unsigned)pid << 3 | 2);
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	struct timespec time = {0, 1};
	timer_t timer;
	printf("%s: %s, ", whose, result(clock_gettime(clock, &time)));
	printf("%s, ", result(clock_getres(clock, &time)));
	printf("%s, ", result(timer_create(clock, &event, &timer)));
	printf("%s\n", result(timer_create(clock, 0, &timer)));
}

/* Clocks that stand for processes. */
static void clocks(pid_t outside)
{
	struct timespec time;
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	clock_of("own", 0);
	clock_of("init", 1);
	clock_of("child", child);
	clock_of("outside", outside);
	clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &(struct timespec){0, 1}, 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	long own = time.tv_sec * 1000000000 + time.tv_nsec;
	clock_gettime((int)(~1u << 3 | 2), &time);
	printf("init is the caller: %d\n", time.tv_sec * 1000000000 + time.tv_nsec - own < 1000000000);
	kill(child, SIGKILL);
}

static struct msghdr header;

static int lengthen(void *unused)
{
	while (!stop)
		((volatile struct msghdr *)&header)->msg_controllen = 1L << 60;
	return 0;
}

/* A thread that says there are more control messages than came. */
static void control_length(void)
{
	static char control[512], name[128], byte[1];
	struct iovec vector = {byte, 1};
	int ends[2], one = 1;
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
	clone(lengthen, stacks[1], THREAD, 0);
	for (int i = 0; i < 1000; i++) {
		write(ends[1], "x", 1);
		header = (struct msghdr){name, sizeof name, &vector, 1, control, sizeof control};
		recvmsg(ends[0], &header, 0);
	}
	stop = 1;
	printf("received\n");
}

/* A call that the kernel emulates has no end to stop at. */
static void vsyscall(void)
{
	long (*getcpu_there)(unsigned *, unsigned *, void *) = (void *)0xffffffffff600800;
	unsigned cpu;
	long value = getcpu_there(&cpu, 0, 0);
	syscall(SYS_kill, 1, 0);
	syscall(SYS_kill, 1, value);
}

static int after_leader(void *unused)
{
	struct stat st;
	usleep(100000);
	int directory = open("/tmp", O_RDONLY | O_DIRECTORY);
	dprintf(1, "fstat %s\n", result(fstat(1, &st)));
	dprintf(1, "openat %s\n", result(openat(directory, ".", O_RDONLY)));
	_exit(0);
}

/* A process whose first thread has ended lives on in the others. */
static void leader_gone(void)
{
	clone(after_leader, stacks[0] + sizeof *stacks, THREAD, 0);
	syscall(SYS_exit, 0);
}

static int (*shared_site)(void);
static volatile int ready;

static int call_site(void *unused)
{
	while (!ready)
		;
	_exit(shared_site() < 0);
}

/* Two processes that share their memory meet an int 0x80 for the first time together. */
static void shared_memory(void)
{
	int failed = 0;
	for (int round = 0; round < 100; round++) {
		int pids[2];
		char *page = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memcpy(page, getpid_code, sizeof getpid_code);
		shared_site = (int (*)(void))page;
		ready = 0;
		for (int i = 0; i < 2; i++)
			pids[i] = clone(call_site, stacks[i] + sizeof *stacks, CLONE_VM | SIGCHLD, 0);
		usleep(1000);
		ready = 1;
		for (int i = 0; i < 2; i++) {
			int status;
			waitpid(pids[i], &status, 0);
			failed += status != 0;
		}
	}
	printf("%d failed\n", failed);
}

static volatile int traps;

static void trapped(int number)
{
	traps++;
}

/* A breakpoint of the guest's own where an int 0x80 was. */
static void own_breakpoint(void)
{
	char *page = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, getpid_code, sizeof getpid_code);
	((int (*)(void))page)();
	page[SITE] = 0xcc;
	page[SITE + 1] = 0xc3;
	signal(SIGTRAP, trapped);
	((int (*)(void))page)();
	printf("%d traps\n", traps);
}

/* Children that have ended and are not waited for still are processes of the host's. */
static void zombies(void)
{
	int count = 0;
	while (count < 200) {
		int pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0)
			break;
		siginfo_t info;
		waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
		count++;
	}
	printf("%d zombies\n", count);
}

/* Forks the kernel refuses must not be counted as tasks. */
static void failed_forks(void)
{
	int pids[8], p[2];
	char byte;
	pipe(p);
	for (int i = 0; i < 8; i++)
		if ((pids[i] = fork()) == 0) {
			syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0); /* EINVAL: no CLONE_VM */
			write(p[1], "x", 1);
			pause();
		} else if (pids[i] < 0) {
			printf("fork %s\n", result(pids[i]));
			return; /* init's end is everybody's */
		} else
			read(p[0], &byte, 1); /* while it asks, its thread may come to be, and counts */
	int pid = fork();
	if (pid == 0)
		_exit(0);
	printf("fork %s\n", result(pid));
	for (int i = 0; i < 8; i++)
		kill(pids[i], SIGKILL);
}

/* A program that is static when the supervisor looks, and wants INTERPRETER of the host when the kernel does. */
static void interpreter(const char *host)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segments[2];
		char interpreter[1024];
		unsigned char code[16];
	} file = {0};
	int ran = 0, type, pid;
	memcpy(file.header.e_ident, "\177ELF\2\1\1", 7);
	file.header.e_type = ET_DYN, file.header.e_machine = EM_X86_64, file.header.e_version = 1;
	file.header.e_phoff = file.header.e_ehsize = sizeof file.header;
	file.header.e_phentsize = sizeof *file.segments, file.header.e_phnum = 2;
	file.header.e_entry = (char *)file.code - (char *)&file;
	file.segments[0] = (Elf64_Phdr){PT_LOAD, 5, 0, 0, 0, sizeof file, sizeof file, 4096};
	file.segments[1] = (Elf64_Phdr){PT_NULL, 4, (char *)file.interpreter - (char *)&file, 0, 0, strlen(host) + 1, 0, 1};
	strcpy(file.interpreter, host);
	memcpy(file.code, "\x31\xff\xb8\xe7\0\0\0\x0f\x05", 9); /* exit_group(0) */
	int fd = open("/tmp/program", O_CREAT | O_RDWR, 0755);
	write(fd, &file, sizeof file);
	close(fd);
	if ((pid = fork()) == 0)
		for (;;) {
			type = type == PT_INTERP ? PT_NULL : PT_INTERP;
			while ((fd = open("/tmp/program", O_RDWR)) < 0)
				;
			pwrite(fd, &type, 4, offsetof(typeof(file), segments[1].p_type));
			close(fd);
			for (volatile int i = rand() % 200000; i > 0; i--)
				;
		}
	for (time_t end = time(0) + 4; time(0) < end && !ran;) {
		int status, child = fork();
		if (child == 0) {
			execl("/tmp/program", "program", (char *)0);
			_exit(1);
		}
		waitpid(child, &status, 0);
		ran = !WIFEXITED(status) || WEXITSTATUS(status) > 1;
	}
	kill(pid, SIGKILL);
	printf(ran ? "the host's program ran\n" : "not run\n");
}

/* Many processes, each with a directory of its own and a first int 0x80, at once. */
static void many(void)
{
	int ended = 0, status;
	for (int i = 0; i < 60; i++)
		if (fork() == 0) {
			char name[40];
			struct stat st;
			char *page = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			sprintf(name, "/tmp/d%d", i);
			mkdir(name, 0755), chdir(name), fstat(0, &st);
			memcpy(page, getpid_code, sizeof getpid_code);
			((int (*)(void))page)();
			usleep(200000);
			execl("/bin/true", "true", (char *)0);
			_exit(1);
		}
	while (wait(&status) > 0)
		ended++;
	printf("%d ended\n", ended);
}

/* Exec'ing children killed at a random moment. */
static void killed_in_exec(void)
{
	char *argv[] = {"hostile", "nothing", 0};
	srand(1);
	for (int i = 0; i < 3000; i++) {
		struct timespec from, now;
		int delay = rand() % 1500000, pid = fork();
		if (pid == 0) {
			execv("/proc/self/exe", argv);
			_exit(1);
		}
		clock_gettime(CLOCK_MONOTONIC, &from);
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < delay);
		kill(pid, SIGKILL);
		waitpid(pid, 0, 0);
	}
	printf("done\n");
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	setvbuf(stdout, 0, _IOLBF, 0);
	if (!strcmp(how, "session")) session();
	if (!strcmp(how, "stillborn")) stillborn();
	if (!strcmp(how, "lease")) lease();
	if (!strcmp(how, "no-stack")) no_stack();
	if (!strcmp(how, "calls-without-stack")) calls_without_stack();
	if (!strcmp(how, "own-word")) own_word();
	if (!strcmp(how, "handed-in")) handed_in();
	if (!strcmp(how, "read-back")) read_back();
	if (!strcmp(how, "segments")) segments();
	if (!strcmp(how, "clocks")) clocks(atoi(argv[2]));
	if (!strcmp(how, "control-length")) control_length();
	if (!strcmp(how, "vsyscall")) vsyscall();
	if (!strcmp(how, "leader-gone")) leader_gone();
	if (!strcmp(how, "shared-memory")) shared_memory();
	if (!strcmp(how, "own-breakpoint")) own_breakpoint();
	if (!strcmp(how, "zombies")) zombies();
	if (!strcmp(how, "failed-forks")) failed_forks();
	if (!strcmp(how, "interpreter")) interpreter(argv[2]);
	if (!strcmp(how, "many")) many();
	if (!strcmp(how, "killed-in-exec")) killed_in_exec();
	return 0;
}
