/* Words and numbers on the standard output, for host programs, which have no C library. */
#ifndef TEXT_H
#define TEXT_H

#include "int80.h"

static inline size_t length(const char *text)
{
	size_t size = 0;
	while (text[size])
		size++;
	return size;
}

static inline void say(const char *text)
{
	int80_write(1, text, length(text));
}

static inline void say_number(long value)
{
	char digits[22];
	size_t at = sizeof digits;
	unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
	digits[--at] = 0;
	do
		digits[--at] = '0' + rest % 10;
	while (rest /= 10);
	if (value < 0)
		digits[--at] = '-';
	say(digits + at);
}

#endif
