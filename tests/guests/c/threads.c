/* threads: eight threads that take turns, wait for each other, signal each other and leave in several ways.  Whose turn it
   is is handed on through pipes, so the order of calls does not hang on the scheduler. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 12 };

static int turn[THREADS + 1][2];
static volatile sig_atomic_t asked;

static void on_signal(int number)
{
	asked++;
}

static void *take_turns(void *argument)
{
	long self = (long)argument;
	char token;

	for (int round = 0; round < ROUNDS; round++) {
		if (read(turn[self][0], &token, 1) != 1)
			abort();
		void *page = mmap(NULL, 4096 << self, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(page, 4096, PROT_READ);
		munmap(page, 4096 << self);
		syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
		close(eventfd(self, EFD_NONBLOCK));
		if (write(turn[self + 1][1], &token, 1) != 1)
			abort();
	}
	if (self % 3 == 1)
		pthread_exit(argument);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	char token = 'x';

	signal(SIGUSR1, on_signal);
	for (int i = 0; i <= THREADS; i++)
		if (pipe2(turn[i], O_CLOEXEC))
			return 1;
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, take_turns, (void *)i))
			return 1;
	for (int round = 0; round < ROUNDS; round++)
		if (write(turn[0][1], &token, 1) != 1 || read(turn[THREADS][0], &token, 1) != 1)
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%d\n", (int)asked);
	return asked != THREADS * ROUNDS;
}
