/* The gate: Linux calls through int 0x80 with the 64-bit register layout.
 *
 *     gcc -O2 -nostdlib -static -o gate gate.c
 *
 * The number is the x86-64 one, in rax; the arguments are 64 bits wide, in rdi rsi rdx r10 r8 r9; the result, or
 * a negative errno, is in rax; no other register changes.  A plain kernel would read the same instruction as a
 * 32-bit call with other numbers: under int80 it never gets to see it.
 */

#include <asm/unistd_64.h>

static long call3(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "memory");
    return result;
}

#define SAY(text) call3(__NR_write, 1, (long)(text), sizeof(text) - 1)

void _start(void)
{
    SAY("hello through the gate\n");
    if (call3(__NR_getpid, 0, 0, 0) == 1)
        SAY("I am process 1\n");
    /* A pointer that no 32-bit call could carry; nothing is there. */
    if (call3(__NR_write, 1, 0x7fff00000000, 1) == -14)
        SAY("EFAULT, as it should be\n");
    call3(__NR_exit_group, 0, 0, 0);
    __builtin_unreachable();
}
