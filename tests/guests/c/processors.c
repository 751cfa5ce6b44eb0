/* Opens a file, asks which processors it may run on, and has children ask, again and again: how many were told other than
 * at the begin. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int processors(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof set, &set);
	return CPU_COUNT(&set);
}

int main(void)
{
	int all = processors(), wrong = 0, children = 0, status;

	for (int round = 0; round < 1000; round++) {
		close(open("/", O_RDONLY));
		wrong += processors() != all;
		if (round % 10 == 0) {
			if (!fork())
				_exit(processors() != all);
			wait(&status);
			children += WEXITSTATUS(status);
		}
	}
	printf("%d of 1000, %d of 100 children\n", wrong, children);
	return 0;
}
