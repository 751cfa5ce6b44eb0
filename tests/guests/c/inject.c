/* Calls for the trace to tamper with: six chdir, one getpgrp, what they returned on standard output. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void caught(int number, siginfo_t *info, void *context)
{
	char line[64];
	int length = snprintf(line, sizeof line, "signal %d code %d\n", number, info->si_code);

	write(1, line, length);
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};

	sigaction(SIGUSR1, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int count = 1; count <= 6; count++) {
		errno = 0;
		int result = chdir("/tmp");

		printf("chdir %d: %d errno %d\n", count, result, errno);
	}
	errno = 0;
	long result = syscall(SYS_getpgrp);

	printf("getpgrp %s errno %d\n", result == getpgid(0) ? "itself" : result == getpid() ? "pid" : "other", errno);
	return 3;
}
