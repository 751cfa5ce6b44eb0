/* The host ABI of int80: what a program that manages containers may ask for.
 *
 * Include this in a freestanding program (gcc -nostdlib -static -ffreestanding); the note below makes it a host program.  A
 * call enters by int 0x80 or by syscall: number in rax, arguments in rdi rsi rdx r10 r8 r9.  It succeeded if the carry flag
 * is clear, and rax is its value; it failed if the carry flag is set, and rax is an int80_error.  docs/host-abi.md has the rest.
 */
#ifndef INT80_H
#define INT80_H

#include <stddef.h>
#include <stdint.h>

enum int80_call {
	INT80_EXIT = 0,
	INT80_WRITE = 1,
	INT80_CONTAINER_CREATE = 2,
	INT80_CONTAINER_START = 3,
	INT80_CONTAINER_STATE = 4,
	INT80_CONTAINER_KILL = 5,
	INT80_CONTAINER_WAIT = 6,
	INT80_CONTAINER_DELETE = 7,
	INT80_CONTAINER_LIST = 8,
};

enum int80_error {
	INT80_NO_CALL = 1,
	INT80_BAD_ARGUMENT = 2,
	INT80_BAD_ADDRESS = 3,
	INT80_NOT_FOUND = 4,
	INT80_NOT_ALLOWED = 5,
	INT80_EXISTS = 6,
	INT80_BUSY = 7,
	INT80_WRONG_STATE = 8,
	INT80_BAD_DESCRIPTOR = 9,
	INT80_NO_MEMORY = 10,
	INT80_TOO_MANY = 11,
	INT80_INTERRUPTED = 12,
	INT80_AGAIN = 13,
	INT80_IO = 14,
	INT80_BROKEN_PIPE = 15,
	INT80_NO_SPACE = 16,
	INT80_FAILED = 99,
};

enum int80_status {
	INT80_CREATED = 1,
	INT80_RUNNING = 2,
	INT80_STOPPED = 3,
};

/* What container_state tells: 256 bytes. */
struct int80_container {
	uint32_t number;
	uint32_t status;     /* int80_status */
	uint32_t exit_status; /* of a stopped one: 128+N after signal N */
	int32_t pid;         /* of its process 1, on the machine; 0 unless it runs */
	char bundle[240];    /* the path it was created from, cut after 239 bytes */
};

__attribute__((section(".note.int80"), aligned(4), used)) static const struct {
	uint32_t name_size, size, type;
	char name[8];
	uint32_t abi;
} int80_note = {6, 4, 1, "int80", 1};

/* A result is a value, or the negative of an int80_error. */
static inline long int80_call(long number, long a, long b, long c)
{
	long result;
	unsigned char failed;
	__asm__ volatile("int $0x80\n\tsetc %1"
			 : "=a"(result), "=q"(failed)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "memory", "cc");
	return failed ? -result : result;
}

__attribute__((noreturn)) static inline void int80_exit(int status)
{
	for (;;)
		int80_call(INT80_EXIT, status, 0, 0);
}

static inline long int80_write(int fd, const void *data, size_t size)
{
	return int80_call(INT80_WRITE, fd, (long)data, (long)size);
}

/* A container from the bundle at `path`: its number. */
static inline long container_create(const char *path)
{
	return int80_call(INT80_CONTAINER_CREATE, (long)path, 0, 0);
}

static inline long container_start(long number)
{
	return int80_call(INT80_CONTAINER_START, number, 0, 0);
}

static inline long container_state(long number, struct int80_container *state)
{
	return int80_call(INT80_CONTAINER_STATE, number, (long)state, sizeof *state);
}

static inline long container_kill(long number, int signal)
{
	return int80_call(INT80_CONTAINER_KILL, number, signal, 0);
}

/* Waits until it has stopped: its exit status. */
static inline long container_wait(long number)
{
	return int80_call(INT80_CONTAINER_WAIT, number, 0, 0);
}

static inline long container_delete(long number)
{
	return int80_call(INT80_CONTAINER_DELETE, number, 0, 0);
}

/* How many containers there are; the numbers of the first `count` are written. */
static inline long container_list(uint32_t *numbers, size_t count)
{
	return int80_call(INT80_CONTAINER_LIST, (long)numbers, (long)count, 0);
}

#endif
