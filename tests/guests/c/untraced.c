/* What a program can see of signals, stops, children and threads, a part by name: the same with a tracer as without. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t arrived, *shared;

static void caught(int number, siginfo_t *info, void *context)
{
	arrived = number;
	if (number == SIGALRM) {
		if (shared)
			*shared = number;
		return;
	}
	dprintf(1, "signal %d code %d from %s status %d\n", number, info->si_code,
		info->si_pid == getpid() ? "itself" : info->si_pid == getppid() ? "parent" : info->si_pid ? "other" : "nobody",
		number == SIGCHLD ? info->si_status : 0);
}

static void catch(int number, int flags)
{
	struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | flags};

	sigaction(number, &action, NULL);
}

static void say(const char *who, int status)
{
	if (WIFEXITED(status))
		dprintf(1, "%s exited %d\n", who, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		dprintf(1, "%s killed %d\n", who, WTERMSIG(status));
	else if (WIFSTOPPED(status))
		dprintf(1, "%s stopped %d\n", who, WSTOPSIG(status));
	else
		dprintf(1, "%s continued\n", who);
}

static void handlers(void)
{
	int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGTRAP, SIGTSTP, SIGCONT, SIGRTMIN + 3};

	for (unsigned index = 0; index < sizeof numbers / sizeof *numbers; index++) {
		catch(numbers[index], 0);
		raise(numbers[index]);
		kill(getpid(), numbers[index]);
	}
	catch(SIGSEGV, SA_RESETHAND);
	raise(SIGSEGV);
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	kill(getpid(), SIGUSR1);
	siginfo_t info;
	dprintf(1, "waited for %d", sigwaitinfo(&set, &info));
	dprintf(1, " code %d\n", info.si_code);
}

/* Wait for the parent's signal first: it and the status come in either order. */
static void told(const char *who, pid_t child, int options)
{
	siginfo_t info;
	sigset_t set;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigwaitinfo(&set, &info);
	dprintf(1, "SIGCHLD code %d status %d from child %d\n", info.si_code, info.si_status, info.si_pid == child);
	waitpid(child, &status, options);
	say(who, status);
	dprintf(1, "no more: %d\n", waitpid(child, &status, WUNTRACED | WCONTINUED | WNOHANG));
}

/* A child is stopped, continued, and killed; its parent sees each of them once. */
static void stops(void)
{
	int status, numbers[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	siginfo_t info = {0};
	sigset_t set;
	pid_t child;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (!(child = fork())) {
		for (;;)
			pause();
	}
	setpgid(child, child);
	for (int index = 0; index < 4; index++) {
		kill(child, numbers[index]);
		told("child", child, WUNTRACED);
		kill(child, SIGCONT);
		told("child", child, WCONTINUED);
	}
	kill(child, SIGKILL);
	told("child", child, 0);
	if (!(child = fork())) {
		raise(SIGSTOP);
		_exit(4);
	}
	waitid(P_PID, child, &info, WSTOPPED | WNOWAIT);
	dprintf(1, "waitid code %d status %d\n", info.si_code, info.si_status);
	waitid(P_PID, child, &info, WSTOPPED);
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
	say("child", status);
}

/* A whole process is stopped, all threads of it. */
static void *spin(void *count)
{
	for (;;)
		++*(volatile unsigned long *)count;
}

static void threads_stop(void)
{
	unsigned long *count = malloc(sizeof *count), before;
	int status, pipes[2];
	pid_t child;

	pipe(pipes);
	if (!(child = fork())) {
		pthread_t thread;
		volatile unsigned long counted = 0;
		pthread_create(&thread, NULL, spin, (void *)&counted);
		while (!counted)
			sched_yield();
		write(pipes[1], "x", 1);
		for (;;)
			pause();
	}
	read(pipes[0], &before, 1);
	for (int round = 0; round < 3; round++) {
		kill(child, SIGSTOP);
		waitpid(child, &status, WUNTRACED);
		say("process", status);
		kill(child, SIGCONT);
		waitpid(child, &status, WCONTINUED);
		say("process", status);
	}
	kill(child, SIGTERM);
	waitpid(child, &status, 0);
	say("process", status);
}

static void vforks(void)
{
	int status, value = 1;
	pid_t child = vfork();

	if (!child) {
		value = 2;
		_exit(5);
	}
	waitpid(child, &status, 0);
	say("vfork", status);
	dprintf(1, "memory shared: %d\n", value);
	if (!vfork()) {
		execl("/bin/sh", "sh", "-c", "exit 6", NULL);
		_exit(127);
	}
	wait(&status);
	say("exec", status);
	dprintf(1, "no child left: %d %d\n", wait(&status), errno == ECHILD);
}

static void *count(void *argument)
{
	for (int index = 0; index < 200; index++) {
		pthread_mutex_lock(argument);
		arrived++;
		pthread_mutex_unlock(argument);
	}
	return (void *)syscall(SYS_gettid);
}

static void threads(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_t all[16];
	void *result;

	arrived = 0;
	for (int index = 0; index < 16; index++)
		pthread_create(&all[index], NULL, count, &mutex);
	for (int index = 0; index < 16; index++)
		pthread_join(all[index], &result);
	dprintf(1, "counted %d\n", arrived);
}

static void *forever(void *argument)
{
	for (;;)
		pause();
}

static void *executes(void *argument)
{
	execl("/bin/sh", "sh", "-c", "test $$ = $1 && echo same process; ls /proc/$$/task | wc -l; exit 7", "sh", argument, NULL);
	return NULL;
}

static void thread_execs(void)
{
	static char number[16];
	pthread_t thread;

	snprintf(number, sizeof number, "%d", getpid());
	for (int index = 0; index < 4; index++)
		pthread_create(&thread, NULL, forever, NULL);
	pthread_create(&thread, NULL, executes, number);
	forever(NULL);
}

static void *leaves(void *argument)
{
	while (arrived)
		sched_yield();
	dprintf(1, "the last thread\n");
	exit(8);
}

/* The first thread ends before the others. */
static void leader_ends(void)
{
	pthread_t thread;

	arrived = 1;
	pthread_create(&thread, NULL, leaves, NULL);
	arrived = 0;
	pthread_exit(NULL);
}

static void groups(void)
{
	int status;
	pid_t first, second;

	if (!(first = fork())) {
		setpgid(0, 0);
		pause();
	}
	setpgid(first, first);
	if (!(second = fork())) {
		setpgid(0, first);
		pause();
	}
	setpgid(second, first);
	dprintf(1, "one group: %d\n", getpgid(first) == getpgid(second));
	kill(-first, SIGTERM);
	for (int index = 0; index < 2; index++) {
		waitpid(-first, &status, 0);
		say("member", status);
	}
	if (!fork()) {
		dprintf(1, "session: %d\n", setsid() == getpid());
		_exit(0);
	}
	wait(&status);
	say("leader", status);
}

/* Calls that signals interrupt. */
static void interrupted(void)
{
	struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
	struct timespec time = {100, 0}, rest = {0};
	int pipes[2];
	char byte;

	pipe(pipes);
	catch(SIGALRM, 0);
	setitimer(ITIMER_REAL, &often, NULL);
	int result = read(pipes[0], &byte, 1);
	dprintf(1, "read %d %d\n", result, errno == EINTR);
	result = nanosleep(&time, &rest);
	setitimer(ITIMER_REAL, &never, NULL);
	dprintf(1, "sleep %d %d %ld\n", result, errno == EINTR, rest.tv_sec > 90);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	catch(SIGALRM, SA_RESTART);
	setitimer(ITIMER_REAL, &often, NULL);
	if (!fork()) {
		while (!*shared)
			sched_yield();
		write(pipes[1], "y", 1);
		_exit(0);
	}
	result = read(pipes[0], &byte, 1);
	setitimer(ITIMER_REAL, &never, NULL);
	dprintf(1, "restarted %d %c\n", result, byte);
	wait(NULL);
}

/* What came with the program: mask, ignored signals, descriptors, group. */
static void given(void)
{
	sigset_t set;
	struct sigaction action;

	sigprocmask(SIG_BLOCK, NULL, &set);
	for (int number = 1; number <= 64; number++) {
		sigaction(number, NULL, &action);
		if (sigismember(&set, number) == 1 || action.sa_handler != SIG_DFL)
			dprintf(1, "signal %d blocked %d ignored %d\n", number, sigismember(&set, number), action.sa_handler == SIG_IGN);
	}
	for (int fd = 0; fd < 100; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			dprintf(1, "descriptor %d\n", fd);
	cpu_set_t processors;
	sched_getaffinity(0, sizeof processors, &processors);
	dprintf(1, "processors %d dumpable %d no_new_privs %d\n", CPU_COUNT(&processors), prctl(PR_GET_DUMPABLE),
		prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	dprintf(1, "death %d\n", ({ int number; prctl(PR_GET_PDEATHSIG, &number); number; }));
}

/* A filter of the program's own that asks for a tracer, which is not there for it. */
static void own_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 7),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	dprintf(1, "%ld %d\n", syscall(SYS_getppid), errno);
	dprintf(1, "%ld %d\n", syscall(SYS_getpgrp), errno);
}

/* Four threads, of which the first answers. */
static void worker(void)
{
	pthread_t thread;
	char byte;

	for (int index = 0; index < 3; index++)
		pthread_create(&thread, NULL, forever, NULL);
	write(1, "ready\n", 6);
	for (int index = 1; read(0, &byte, 1) == 1; index++)
		dprintf(1, "answer %d of 4\n", index);
	exit(9);
}

int main(int count, char **words)
{
	struct { const char *name; void (*part)(void); } parts[] = {
		{"handlers", handlers}, {"stops", stops}, {"threads-stop", threads_stop}, {"vforks", vforks}, {"threads", threads},
		{"thread-execs", thread_execs}, {"leader-ends", leader_ends}, {"groups", groups}, {"interrupted", interrupted},
		{"given", given}, {"own-filter", own_filter}, {"worker", worker},
	};

	for (unsigned index = 0; index < sizeof parts / sizeof *parts; index++)
		if (!strcmp(parts[index].name, words[1])) {
			parts[index].part();
			return 0;
		}
	if (!strcmp(words[1], "exit"))
		return atoi(words[2]);
	if (!strcmp(words[1], "signal"))
		raise(atoi(words[2]));
	return 99;
}
