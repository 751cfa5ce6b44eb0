/* A host program: COUNT times it creates a container from BUNDLE, starts it, waits for its end and deletes it.
 *
 * It comes to its wait earlier or later each time, so that the end comes at every moment of it.
 */
#include "text.h"

__attribute__((used)) static void run(long *stack)
{
	char **argv = (char **)(stack + 1);
	long count = 0, ended = 0;
	uint64_t random = 88172645463325252u;

	for (const char *digit = argv[2]; *digit; digit++)
		count = count * 10 + *digit - '0';
	for (; ended < count; ended++) {
		long number = container_create(argv[1]);
		if (number < 0 || container_start(number) < 0)
			break;
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		for (volatile uint64_t turn = 0; turn < random % 3000000; turn++)
			;
		if (container_wait(number) != 9 || container_delete(number) < 0)
			break;
	}
	say_number(ended);
	say(" ended\n");
	int80_exit(0);
}

__asm__(".globl _start\n_start:\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
