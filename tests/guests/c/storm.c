/* storm HOW [ARG...]: many processes, bounded in number, and the ends they come to. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int started, refused, other;

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void count(pid_t pid)
{
	if (pid > 0)
		started++;
	else if (errno == EAGAIN)
		refused++;
	else
		other++;
}

/* `attempts` forks whose children stay. */
static void attempts(int number)
{
	for (int i = 0; i < number; i++) {
		pid_t pid = fork();
		if (pid == 0)
			wait_for_ever();
		count(pid);
	}
}

/* A bomb of processes that all fork, until a shared file has counted enough tries. */
static void bomb(int number)
{
	int fd = open("/tmp/tries", O_CREAT | O_RDWR | O_APPEND, 0644);
	for (int i = 0; i < number && lseek(fd, 0, SEEK_END) < number; i++) {
		write(fd, "x", 1);
		if (fork() == 0)
			i = 0;
	}
	if (getpid() != 1)
		wait_for_ever();
}

/* Children that outlive their parent: whose they are then, and who waits for them. */
static void orphans(void)
{
	int fds[2], ready[2], status, reaped = 0, right = 0, from;
	char byte;
	pipe(fds), pipe(ready);
	pid_t middle = fork();
	if (middle == 0) {
		for (int i = 0; i < 10; i++)
			if (fork() == 0) {
				close(fds[1]);
				read(fds[0], &byte, 1); /* until its parent has been waited for */
				byte = getppid();
				write(ready[1], &byte, 1);
				_exit(20 + i);
			}
		_exit(0);
	}
	close(fds[0]);
	waitpid(middle, &status, 0);
	close(fds[1]);
	for (int i = 0; i < 10; i++)
		read(ready[0], &byte, 1), right += byte == 1;
	while ((from = wait(&status)) > 0)
		reaped += WIFEXITED(status) && WEXITSTATUS(status) >= 20 && WEXITSTATUS(status) < 30;
	printf("%d of init, %d reaped, then %s\n", right, reaped, strerrorname_np(errno));
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	int number = argc > 2 ? atoi(argv[2]) : 0;
	setvbuf(stdout, 0, _IONBF, 0);
	if (!strcmp(how, "attempts")) {
		attempts(number);
		printf("%d started, %d refused, %d other\n", started, refused, other);
	} else if (!strcmp(how, "bomb")) {
		bomb(number);
		printf("bombed\n");
	} else if (!strcmp(how, "children")) {
		attempts(number);
		printf("%d started\n", started);
		wait_for_ever();
	} else if (!strcmp(how, "child-kills-init")) {
		attempts(number);
		if (fork() == 0) {
			kill(1, SIGKILL);
			syscall(SYS_tgkill, 1, 1, SIGKILL);
			wait_for_ever(); /* until the end of init takes us along */
		}
		wait_for_ever();
	} else if (!strcmp(how, "init-kills-itself")) {
		attempts(number);
		kill(getpid(), SIGKILL);
		printf("init lives\n");
	} else if (!strcmp(how, "init-faults")) {
		attempts(number);
		*(volatile int *)8 = 1;
	} else if (!strcmp(how, "orphans"))
		orphans();
	else
		return 2;
	return 0;
}
