/* One system call through the gate under test: `int $0x80` in the 64-bit register layout, or `syscall`. */
#ifndef GATE_H
#define GATE_H

static inline long gate(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
#ifdef GATE_INT80
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "memory");
#else
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
#endif
	return result;
}

#define CALL0(n) gate(n, 0, 0, 0, 0, 0, 0)
#define CALL1(n, a) gate(n, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) gate(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) gate(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) gate(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

#endif
