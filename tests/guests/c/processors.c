/* Opens a file, asks which processors it may run on, and has children ask, again and again: how many were told other than
 * at the begin.  With "untraced" the children are such as a tracer does not get. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int processors(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof set, &set);
	return CPU_COUNT(&set);
}

static int started(int untraced, int round)
{
	struct clone_args args = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};

	if (!untraced)
		return fork();
	return round % 20 ? syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) : syscall(SYS_clone3, &args, sizeof args);
}

int main(int argc, char **argv)
{
	int all = processors(), wrong = 0, children = 0, status;

	for (int round = 0; round < 1000; round++) {
		close(open("/", O_RDONLY));
		wrong += processors() != all;
		if (round % 10 == 0) {
			if (!started(argc > 1, round))
				_exit(processors() != all);
			wait(&status);
			children += WEXITSTATUS(status);
		}
	}
	printf("%d of 1000, %d of 100 children\n", wrong, children);
	return 0;
}
