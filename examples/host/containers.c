/* A host program: it creates a container from each bundle it is given, starts them all, waits for them and deletes them.
 *
 *     gcc -O2 -nostdlib -static -ffreestanding -o containers containers.c
 *     int80 run ./containers BUNDLE...
 *
 * Its exit status is the last container's that was not 0, or 125 if a call failed.
 */
#include "text.h"

enum { MOST = 64 };

/* The result of a call that must succeed. */
static long sure(const char *what, long result)
{
	if (result < 0) {
		say(what);
		say(" failed with ");
		say_number(-result);
		say("\n");
		int80_exit(125);
	}
	return result;
}

__attribute__((used)) static void run(long *stack)
{
	int count = (int)stack[0] - 1;
	char **bundles = (char **)stack + 2;
	long numbers[MOST];
	int status = 0;

	if (count > MOST)
		count = MOST;
	for (int i = 0; i < count; i++)
		numbers[i] = sure("container_create", container_create(bundles[i]));
	for (int i = 0; i < count; i++)
		sure("container_start", container_start(numbers[i]));
	for (int i = 0; i < count; i++) {
		long ended = sure("container_wait", container_wait(numbers[i]));
		struct int80_container state;
		sure("container_state", container_state(numbers[i], &state));
		say("container ");
		say_number(state.number);
		say(" from ");
		say(state.bundle);
		say(" ended with ");
		say_number(state.exit_status);
		say("\n");
		if (ended)
			status = (int)ended;
		sure("container_delete", container_delete(numbers[i]));
	}
	say_number(sure("container_list", container_list((uint32_t *)numbers, MOST)));
	say(" containers left\n");
	int80_exit(status);
}

__asm__(".globl _start\n_start:\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
