/* Eight threads that come to the same fresh int 0x80 sites at the same time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 60, SPACING = 64 };

static const unsigned char code[] = {0xb8, 0x27, 0, 0, 0, 0xcd, 0x80, 0x31, 0xc9, 0x45, 0x31, 0xdb, 0xc3};
static unsigned char *page;
static pthread_barrier_t barrier;
static int wrong, own;

static void *work(void *unused)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		for (int i = 0; i < 3; i++)
			if (((long (*)(void))(page + round * SPACING))() != own)
				__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

int main(void)
{
	pthread_t threads[THREADS];
	int rewritten = 0, kept = 0;
	own = getpid();
	page = mmap(0, ROUNDS * SPACING, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < ROUNDS; i++)
		memcpy(page + i * SPACING, code, sizeof code);
	pthread_barrier_init(&barrier, 0, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], 0, work, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], 0);
	for (int i = 0; i < ROUNDS; i++) {
		rewritten += !memcmp(page + i * SPACING + 5, "\x0f\x05", 2);
		kept += !memcmp(page + i * SPACING + 5, "\xcd\x80", 2);
	}
	printf("%d wrong, %d rewritten, %d kept\n", wrong, rewritten, kept);
	return 0;
}
