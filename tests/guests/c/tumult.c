/* tumult SEED ROUNDS: processes and threads that begin, end, execute and signal each other at random.

   init keeps some workers going for so many rounds.  Then it lets go: every worker ends by itself as soon as it runs, and
   is woken and continued, but not killed, until none is left.  Exit 17 if none is, 3 with their numbers if some are stuck. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gate.h"

enum { MOST = 24, SHARED = 100, STEPS = 40 };

static struct shared {
	volatile int over;
	volatile int workers;
	volatile int next;
	volatile pid_t pids[64];
	volatile unsigned seed;
} *shared;

static __thread unsigned state;

static unsigned any(unsigned below)
{
	state = state * 1103515245 + 12345;
	return (state >> 12) % below;
}

static void handler(int number)
{
	if (any(8) == 0)
		gate(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

static void worker(void);

static void *thread(void *unused)
{
	state = __sync_fetch_and_add(&shared->seed, 7919);
	worker();
	return NULL;
}

static void become(void)
{
	shared->pids[__sync_fetch_and_add(&shared->next, 1) % 64] = getpid();
	state = __sync_fetch_and_add(&shared->seed, 7919);
	worker();
	syscall(SYS_exit, 0);
}

static void execute(int times)
{
	char *argv[] = {"tumult", "worker", NULL};
	execv(times ? "/bin/tumult" : "/bin/none", argv);
}

static void start_thread(void)
{
	pthread_t made;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 16);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_create(&made, &attributes, thread, NULL);
}

static void start(void)
{
	if (shared->over || __sync_fetch_and_add(&shared->workers, 1) > MOST) {
		__sync_fetch_and_sub(&shared->workers, 1);
		return;
	}
	pid_t pid = any(4) ? fork() : syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		become();
	if (pid < 0)
		__sync_fetch_and_sub(&shared->workers, 1);
}

static void once(void)
{
	static const int signals[] = {SIGUSR1, SIGUSR1, SIGUSR2, SIGSTOP, SIGCONT, SIGCONT, SIGTSTP, SIGTERM, SIGKILL, SIGSEGV};
	struct itimerval soon = {.it_value = {0, 500 + any(3000)}};
	struct timespec moment = {0, any(1000000)};
	struct stat status;
	sigset_t set;
	char name[64], byte = 0;
	int fd, pair[2];
	pid_t pid = shared->pids[any(64)];
	switch (any(24)) {
	case 0: case 1: start(); break;
	case 2: case 3: start_thread(); break;
	case 4: if (any(3) == 0) execute(any(4)); break;
	case 5: if (any(6) == 0) _exit(any(256)); break;
	case 6: if (any(3) == 0) syscall(SYS_exit, 0); break;
	case 7: case 8:
		if (pid > 1)
			kill(pid, signals[any(10)]);
		break;
	case 9:
		if (pid > 1)
			syscall(SYS_tgkill, pid, pid, signals[any(5)]);
		break;
	case 10: case 11: /* which waits until somebody comes, or for a signal */
		fd = open(any(2) ? "/tmp/one" : "/tmp/two", any(2) ? O_RDONLY : O_WRONLY);
		close(fd);
		break;
	case 12: setitimer(ITIMER_REAL, &soon, NULL); break;
	case 13: waitpid(-1, NULL, any(3) ? WNOHANG : __WALL | WUNTRACED | WCONTINUED); break;
	case 14:
		sprintf(name, "/proc/%d/%s", any(2) ? pid : getpid(), any(2) ? "status" : "task");
		fd = open(name, O_RDONLY);
		close(fd);
		stat(name, &status);
		break;
	case 15: nanosleep(&moment, NULL); break;
	case 16:
		if (!vfork()) {
			if (any(2))
				execute(0);
			_exit(1);
		}
		break;
	case 17:
		sigemptyset(&set);
		sigaddset(&set, any(2) ? SIGUSR2 : SIGTSTP);
		sigprocmask(any(2) ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
		break;
	case 18: setitimer(ITIMER_REAL, &soon, NULL); pause(); break;
	case 19: if (any(2)) setsid(); else setpgid(0, 0); break;
	case 20:
		fd = open("/dev/ptmx", O_RDWR);
		close(fd);
		break;
	case 21:
		if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
			struct iovec data = {&byte, 1};
			struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
			sendmsg(pair[0], &message, 0);
			recvmsg(pair[1], &message, 0);
			close(pair[0]), close(pair[1]);
		}
		break;
	case 22: gate(SYS_getpgid, any(2) ? pid : 0, 0, 0, 0, 0, 0); break;
	case 23: pid > 1 && any(4) == 0 ? kill(-pid, SIGCONT) : 0; break;
	}
}

static void worker(void)
{
	for (int step = 0; step < STEPS && !shared->over; step++)
		once();
	if (shared->over || any(4) == 0) /* else only this thread ends */
		_exit(0);
}

static void prepare(int fd)
{
	struct sigaction action = {.sa_handler = handler};
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
	action.sa_flags = 0;
	sigaction(SIGALRM, &action, NULL);
}

static int stuck(void)
{
	int left = 0;
	for (int i = 0; i < 64; i++)
		if (shared->pids[i] > 1 && !kill(shared->pids[i], 0))
			left++, printf("stuck: %d\n", shared->pids[i]);
	return left;
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "worker")) {
		prepare(SHARED);
		become();
	}
	if (getpid() != 1) /* whose kill(-1) would be meant for this machine */
		return 99;
	int fd = open("/tmp/shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ftruncate(fd, sizeof *shared);
	dup2(fd, SHARED);
	close(fd);
	prepare(SHARED);
	shared->seed = state = atoi(argv[1]);
	mkfifo("/tmp/one", 0600);
	mkfifo("/tmp/two", 0600);
	puts("begun");
	fflush(stdout);
	for (int round = 0; round < atoi(argv[2]); round++) {
		start();
		usleep(any(3000));
		kill(-1, any(2) ? SIGCONT : SIGUSR1);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0);
		if (round % 16 == 0) /* nobody counts those that are killed */
			shared->workers = 0;
	}
	if (argc > 3) /* end amid it all */
		return 17;
	shared->over = 1;
	for (int tries = 0; tries < 300; tries++) {
		kill(-1, SIGCONT);
		kill(-1, SIGUSR1);
		usleep(100000);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0);
		if (waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD)
			return 17;
	}
	stuck();
	return 3;
}
