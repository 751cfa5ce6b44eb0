/* A host program that makes the calls its arguments name, and writes each result on a line: create:PATH start:N state:N kill:N:SIGNAL
 * wait:N delete:N list call:NUMBER bad-state:N bad-list (N counts from 1; a failure is its code after a minus). */
#include "text.h"

static const char *after(const char *word, const char *name)
{
	while (*name && *word == *name)
		word++, name++;
	return *name ? 0 : word;
}

static long number(const char **text)
{
	long value = 0;
	while (**text >= '0' && **text <= '9')
		value = value * 10 + *(*text)++ - '0';
	if (**text == ':')
		++*text;
	return value;
}

static void do_word(const char *word)
{
	const char *rest;
	long result;
	struct int80_container state = {0};
	uint32_t numbers[16] = {0};
	if ((rest = after(word, "create:"))) {
		result = container_create(rest);
	} else if ((rest = after(word, "start:"))) {
		result = container_start(number(&rest));
	} else if ((rest = after(word, "kill:"))) {
		long which = number(&rest);
		result = container_kill(which, (int)number(&rest));
	} else if ((rest = after(word, "wait:"))) {
		result = container_wait(number(&rest));
	} else if ((rest = after(word, "delete:"))) {
		result = container_delete(number(&rest));
	} else if ((rest = after(word, "state:"))) {
		result = container_state(number(&rest), &state);
	} else if ((rest = after(word, "bad-state:"))) {
		result = int80_call(INT80_CONTAINER_STATE, number(&rest), 16, 256);
	} else if (after(word, "bad-create")) {
		result = int80_call(INT80_CONTAINER_CREATE, 16, 0, 0);
	} else if (after(word, "bad-list")) {
		result = int80_call(INT80_CONTAINER_LIST, 16, 10, 0);
	} else if (after(word, "list")) {
		result = container_list(numbers, 16);
	} else if ((rest = after(word, "call:"))) {
		result = int80_call(number(&rest), 0, 0, 0);
	} else if ((rest = after(word, "times:"))) {
		long times = number(&rest);
		for (result = 1; times-- && result > 0;)
			result = container_create(rest);
	} else {
		result = -INT80_FAILED;
	}
	say(word);
	say(" ");
	if (state.number) {
		say("status ");
		say_number(state.status);
		say(" exit ");
		say_number(state.exit_status);
		say(state.pid > 1 ? " has a pid " : " has no pid ");
		say(state.bundle);
		say(" ");
	}
	for (int i = 0; i < 16 && numbers[i]; i++) {
		say_number(numbers[i]);
		say(" ");
	}
	say("= ");
	say_number(result);
	say("\n");
}

__attribute__((used)) static void run(long *stack)
{
	char **words = (char **)stack + 2;
	while (*words)
		do_word(*words++);
	int80_exit(7);
}

__asm__(".globl _start\n_start:\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
