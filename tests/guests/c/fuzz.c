/*
 * fuzz SEED COUNT: random calls with arguments that often make sense, in a child that is made anew when it dies.
 *
 * The child counts in shared memory, so that a death costs one call.  Left out is what would end the test
 * rather than test the sandbox: kill(2) and its kin may only reach the child itself, and nothing syncs the
 * machine's disks.
 */
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"

struct state {
	uint64_t random;
	long done;
	long deaths;
	char buffers[8][4096];
};

static struct state *state;

static uint64_t next(void)
{
	uint64_t x = state->random; /* xorshift64 */
	x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return state->random = x;
}

static const char *const paths[] = {
	"/",	      ".",	     "..",	    "/tmp/a",	     "/tmp/b",	     "/tmp/d",	      "/tmp/d/../a",
	"/tmp/link",  "",	     "/proc",	    "/proc/self",    "/proc/self/exe", "/proc/self/fd", "/proc/self/fd/0",
	"/proc/1/cwd", "/proc/self/task", "/proc/self/maps", "/proc/self/fdinfo/1", "/dev", "/dev/null", "/dev/shm/x",
	"/dev/ptmx",  "/tmp/fifo",   "/tmp/d/",	    "/tmp/a/",	     "a/b/c",	     "../../../../etc", "/tmp/.",
	"/dev/fd/3",  "/proc/sys/kernel/hostname", "/proc/mounts", "/proc/99999/stat", "/tmp/\xff\xfe\n", "/dev/shm",
};

static uint64_t argument(void)
{
	uint64_t r = next();
	int which = r >> 8 & 7;
	switch (r & 15) {
	case 0: return 0;
	case 1: return r >> 32 & 15;			 /* descriptors, small numbers */
	case 2: return r >> 32 & 7;
	case 3: return (uint64_t)-(int64_t)(r >> 32 & 255); /* AT_FDCWD and its like */
	case 4: return 1ull << (r >> 32 & 63);		 /* one flag */
	case 5: return r >> 32 & 0xffff;
	case 6: return next();
	case 7:
	case 8:
	case 9: /* a path */
		strcpy(state->buffers[which], paths[(r >> 16) % (sizeof paths / sizeof *paths)]);
		return (uintptr_t)state->buffers[which];
	case 10: /* small numbers in memory: structures, times, pid lists */
		for (int i = 0; i < 16; i++)
			((uint64_t *)state->buffers[which])[i] = next() & 7;
		return (uintptr_t)state->buffers[which];
	case 11: /* rubbish in memory, maybe vectors of pointers */
		for (int i = 0; i < 32; i++)
			((uint64_t *)state->buffers[which])[i] = i & 1 ? next() & 4095 : (uintptr_t)state->buffers[next() & 7];
		return (uintptr_t)state->buffers[which];
	case 12: return (uintptr_t)(state->buffers[7] + 4096 - (r >> 32 & 15));
	case 13: return getpid();
	case 14: return 0xffffffff;
	default: return r >> 32 & 0xffffff;
	}
}

static int allowed(long number, uint64_t *a)
{
	switch (number) {
	case 60: case 231: return state->done % 97 == 0; /* exit, now and then */
	case 15: case 335: case 336: return state->done % 97 == 0; /* rt_sigreturn, uretprobe: deadly */
	case 162: case 306: case 74: case 75: case 277: return 0; /* sync and its kin */
	case 62: case 200: case 129: /* kill, tkill, rt_sigqueueinfo: the child itself */
		a[0] = getpid();
		return a[1] != SIGSTOP || state->done % 97 == 0;
	case 234: case 297:
		a[0] = a[1] = getpid();
		return 1;
	case 424: return 0; /* a pidfd may be init's */
	case 434: a[0] = getpid(); return 1;
	case 302: a[0] = 0; return (a[1] & 15) != RLIMIT_CPU;
	case 11: case 10: case 25: case 28: case 9: case 216: case 329: case 462: /* not our own stack and text */
		return a[0] < 0x400000 || a[0] > 0x7f0000000000;
	case 56: a[0] &= ~(CLONE_VM | CLONE_VFORK); return 1;
	case 58: return 0; /* vfork returns twice on one stack */
	case 435: a[1] = 0; return 1;
	}
	return 1;
}

static void nothing(int number)
{
}

static void child(long count)
{
	struct sigaction action = {.sa_handler = nothing};
	struct itimerval soon = {{0, 20000}, {0, 20000}};
	pid_t me = getpid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	for (int fd = 0; fd < 3; fd++)
		dup2(open("/dev/null", O_RDWR), fd);
	while (state->done < count) {
		uint64_t r = next(), a[6];
		long number = (r & 63) == 0 ? (long)next() : (r & 31) == 1 ? (long)(r >> 32 & 0x1ff) | 0x40000000 : r >> 16 & 0x1ff;
		for (int i = 0; i < 6; i++)
			a[i] = argument();
		state->done++;
		if (!allowed(number, a))
			continue;
		sigaction(SIGALRM, &action, 0);
		setitimer(ITIMER_REAL, &soon, 0);
		gate(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (getpid() != me)
			_exit(0); /* a fork's child */
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	long count = atol(argv[2]);
	state = mmap(0, sizeof *state + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	munmap((char *)state + ((sizeof *state + 4095) & ~4095ul), 4096);
	state->random = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15u + 1;
	while (state->done < count) {
		long before = state->done;
		int status, idle = 0;
		pid_t pid;
		CALL1(80, "/tmp");
		CALL2(83, "/tmp/d", 0755);
		CALL2(88, "d", "/tmp/link");
		CALL3(133, "/tmp/fifo", 0010644, 0);
		pid = fork();
		if (pid == 0)
			child(count);
		/* A child that is stopped, or has lost its alarm, is killed after a second without progress. */
		while (waitpid(pid, &status, WNOHANG) != pid) {
			usleep(10000);
			idle = state->done == before ? idle + 1 : 0;
			before = state->done;
			if (idle == 100)
				kill(pid, SIGKILL), state->deaths++;
		}
		kill(-pid, SIGKILL);
		while (waitpid(-1, 0, WNOHANG) > 0)
			;
	}
	printf("%ld calls\n", state->done);
	return 23;
}
