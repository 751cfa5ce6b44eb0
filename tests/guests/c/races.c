/* races HOW [ARG...]: one thread changes what a name means while another uses it.  Every loop ends by itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int stop;
static char **links;
static char *self;

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* "x" is a directory, then each of the links, then the directory again. */
static void *swap(void *unused)
{
	while (!stop)
		for (int i = 0; links[i] && !stop; i++) {
			char name[] = {'l', '0' + i, 0};
			rename("x", "kept"), rename(name, "x");
			rename("x", name), rename("kept", "x");
		}
	return 0;
}

static void *exchange(void *unused)
{
	while (!stop)
		for (int i = 0; links[i] && !stop; i++) {
			char name[] = {'l', '0' + i, 0};
			renameat2(AT_FDCWD, "x", AT_FDCWD, name, RENAME_EXCHANGE);
			renameat2(AT_FDCWD, "x", AT_FDCWD, name, RENAME_EXCHANGE);
		}
	return 0;
}

static void *move(void *unused)
{
	while (!stop)
		rename("/tmp/a/b/d", "/d"), rename("/d", "/tmp/a/b/d");
	return 0;
}

static int inside, outside, failed;

/* What was read or measured: the host's file is the one of 100 bytes. */
static void judge(int fd, long size)
{
	char text[128];
	if (fd >= 0) {
		size = read(fd, text, sizeof text);
		close(fd);
	}
	if (size < 0)
		failed++;
	else if (size == 100)
		outside++;
	else
		inside++;
}

static void use(const char *path, double seconds)
{
	struct stat st;
	double end = now() + seconds;
	for (int round = 0; round < 4000 && now() < end; round++) {
		judge(open(path, O_RDONLY), -1);
		judge(-1, stat(path, &st) ? -1 : st.st_size);
		judge(-1, lstat(path, &st) ? -1 : st.st_size);
	}
}

static int status_of(const char *path, char *const argv[])
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		execv(path, argv);
		_exit(9);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void names(char **given, void *(*other)(void *))
{
	pthread_t thread;
	links = given;
	chdir("/tmp");
	for (int i = 0; links[i]; i++) {
		char name[] = {'l', '0' + i, 0};
		symlink(links[i], name);
	}
	pthread_create(&thread, 0, other, 0);
	use("x/canary", 1.2);
	use("/tmp/x/../x/canary", 0.5);
	char *argv[] = {"exit7", 0};
	double end = now() + 0.8;
	for (int i = 0; i < 100 && now() < end; i++) {
		int status = status_of("x/program", argv);
		outside += status == 42;
		inside += status == 7;
		failed += status == 9;
		if (status != 42 && status != 7 && status != 9)
			printf("status %d\n", status);
	}
	stop = 1;
	pthread_join(thread, 0);
}

static void moving(void)
{
	pthread_t thread;
	mkdir("/tmp/a", 0755), mkdir("/tmp/a/b", 0755), mkdir("/tmp/a/b/d", 0755), mkdir("/tmp/a/b/d/e", 0755);
	pthread_create(&thread, 0, move, 0);
	use("/tmp/a/b/d/e/../../../canary", 0.7);
	use("/d/e/../../../canary", 0.7);
	while (chdir("/tmp/a/b/d/e"))
		;
	use("../../../canary", 0.7);
	use("../../canary", 0.7);
	stop = 1;
	pthread_join(thread, 0);
}

/* -- exec ---------------------------------------------------------------------------------------- */

static void *spin(void *unused)
{
	while (!stop)
		getppid();
	return 0;
}

static void *call(void *unused)
{
	struct stat st;
	while (!stop)
		stat("/etc/passwd", &st);
	return 0;
}

static int left;

static void *again(void *unused)
{
	char number[12];
	sprintf(number, "%d", left - 1);
	char *argv[] = {self, "chain", number, 0};
	execv(self, argv);
	printf("execv: %s\n", strerror(errno));
	exit(1);
}

/* A program that a thread other than the first executes anew, `left` times. */
static void chain(void)
{
	pthread_t threads[4];
	if (getpid() != syscall(SYS_gettid))
		printf("not the leader\n");
	if (left == 0) {
		puts("done");
		exit(0);
	}
	pthread_create(&threads[0], 0, spin, 0);
	pthread_create(&threads[1], 0, call, 0);
	pthread_create(&threads[2], 0, call, 0);
	pthread_create(&threads[3], 0, again, 0);
	if (left & 1)
		pthread_join(threads[3], 0);
	call(0);
}

static void *exec_soon(void *unused)
{
	char *argv[] = {"exit7", 0};
	usleep(2000);
	execv(self, argv);
	return 0;
}

static void fork_during_exec(void)
{
	int right = 0;
	for (int i = 0; i < 20; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t thread;
			pthread_create(&thread, 0, exec_soon, 0);
			for (int j = 0; j < 200; j++) {
				pid_t child = fork();
				if (child == 0)
					_exit(0);
				waitpid(child, 0, 0);
			}
			pthread_join(thread, 0);
			_exit(8);
		}
		waitpid(pid, &status, 0);
		right += WIFEXITED(status) && WEXITSTATUS(status) == 7;
	}
	printf("%d right\n", right);
}

static char path[256];
static char **bad;
static volatile uintptr_t around;

static void *write_path(void *unused)
{
	for (long i = 0; i < 400000000 && !stop; i++) {
		strcpy(path, bad[0]);
		for (int pause = 0; pause < 2000; pause++)
			__asm__ volatile("" : : : "memory");
		strcpy(path, self);
		for (int pause = 0; pause < 2000; pause++)
			__asm__ volatile("" : : : "memory");
	}
	return 0;
}

/* Whatever looks like a path below the stack of the thread that executes becomes the host's. */
static void *write_below(void *unused)
{
	for (long i = 0; i < 100000 && !stop; i++)
		for (char *at = (char *)around - 4096; at < (char *)around - 128; at += 16)
			if (at[0] == '/' || at[0] == 'p')
				strcpy(at, bad[0]);
	return 0;
}

static void swapped_path(void *(*writer)(void *))
{
	int good = 0, refused = 0, host = 0, other = 0;
	double end = now() + 2;
	for (int i = 0; i < 80 && now() < end; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t thread;
			char *argv[] = {"exit7", 0};
			strcpy(path, self);
			around = (uintptr_t)__builtin_frame_address(0) - 32;
			pthread_create(&thread, 0, writer, 0);
			usleep(300);
			syscall(SYS_execve, path, argv, 0);
			_exit(9);
		}
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status))
			other++;
		else
			*(WEXITSTATUS(status) == 7 ? &good : WEXITSTATUS(status) == 9 ? &refused : WEXITSTATUS(status) == 42 ? &host : &other) += 1;
	}
	printf("%d good, %d refused, %d of the host, %d other\n", good, refused, host, other);
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[0], "exit7"))
		return 7;
	self = "/bin/races";
	bad = argv + 2;
	setvbuf(stdout, 0, _IONBF, 0);
	if (!strcmp(argv[1], "swap"))
		names(argv + 2, swap);
	else if (!strcmp(argv[1], "exchange"))
		names(argv + 2, exchange);
	else if (!strcmp(argv[1], "moving"))
		moving();
	else if (!strcmp(argv[1], "chain"))
		left = atoi(argv[2]), chain();
	else if (!strcmp(argv[1], "fork"))
		fork_during_exec();
	else if (!strcmp(argv[1], "path"))
		swapped_path(write_path);
	else if (!strcmp(argv[1], "below"))
		swapped_path(write_below);
	else
		return 2;
	if (inside + outside + failed)
		printf("%d %d %d\n", inside, outside, failed);
	return 0;
}
