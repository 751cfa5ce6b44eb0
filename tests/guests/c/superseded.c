/* superseded: a thread executes another program, which takes the place and the number of the first. */
#include <pthread.h>
#include <unistd.h>

static void *execute(void *unused)
{
	execl("/bin/true", "true", (char *)NULL);
	return NULL;
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, execute, NULL))
		return 1;
	for (;;)
		pause();
}
