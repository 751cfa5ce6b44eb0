/* Calls that are not of the 64-bit kind: none of them is made.  Never to be run outside a sandbox. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t ia32_saved, ia32_low;
long ia32_call(long number, long stack);
long int80(long number, long a, long b, long c);
void ia32_back(void);

__asm__(".text\n"
	"ia32_call: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"mov %rsp, ia32_saved(%rip); mov %rdi, %rax; mov %rsi, %rsp\n"
	"xor %ebx, %ebx; xor %ecx, %ecx; xor %edx, %edx\n"
	"pushq $0x23; pushq ia32_low(%rip); lretq\n"
	"ia32_back: mov ia32_saved(%rip), %rsp\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
	"int80: mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; int $0x80\n"
	"xor %ecx, %ecx; xor %r11d, %r11d; ret\n");

int main(void)
{
	static const unsigned char back[] = {0x49, 0xba}; /* movabs, r10 */
	uint8_t *low = mmap(0, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint8_t *next = low;
	uint32_t trampoline = (uint32_t)(uintptr_t)(low + 64);
	*next++ = 0xcd, *next++ = 0x80;
	*next++ = 0xea; /* ljmp $0x33, trampoline */
	memcpy(next, &trampoline, 4), next += 4;
	*next++ = 0x33, *next++ = 0;
	void *target = ia32_back;
	memcpy(low + 64, back, 2);
	memcpy(low + 66, &target, 8);
	memcpy(low + 74, "\x41\xff\xe2", 3); /* jmp *%r10 */
	ia32_low = (uint64_t)low;
	long stack = (long)low + 65536 - 64;
	int numbers[] = {1, 5, 20, 24, 39, 120, 499}; /* exit, open, getpid, getuid, mkdir and clone there */
	for (int i = 0; i < 7; i++)
		printf("32-bit %d: %d\n", numbers[i], (int)ia32_call(numbers[i], stack));
	printf("code %02x %02x\n", low[0], low[1]);
	printf("x32 by syscall: %ld\n", syscall(0x40000000 | SYS_getpid) < 0 ? -(long)errno : 0);
	printf("x32 by int 0x80: %ld\n", int80(0x40000000 | SYS_getpid, 0, 0, 0));
	printf("x32's own execve: %ld\n", int80(0x40000000 | 520, 0, 0, 0));
	fflush(stdout);
	static const char text[] = "from above\n";
	char *high = mmap((void *)0x7e0000000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(high, text);
	long count = int80(SYS_write, 1, (long)high, sizeof text - 1);
	printf("%ld bytes from %s 4 GiB\n", count, (uintptr_t)high >> 32 ? "above" : "below");
	fflush(stdout);
	for (int how = 0; how < 2; how++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			if (how == 0)
				__asm__ volatile("mov %%rsp, %%rbp; sysenter" : : "a"(252), "b"(33) : "memory");
			else {
				ia32_low = (uint64_t)low + 128;
				memcpy(low + 128, "\x89\xe5\x0f\x34", 4); /* mov %esp, %ebp; sysenter */
				ia32_call(252, stack);
			}
			_exit(44);
		}
		waitpid(pid, &status, 0);
		printf("sysenter %s\n", WIFSIGNALED(status) ? "ends it" : WEXITSTATUS(status) == 33 ? "exits" : "returns");
	}
	return 0;
}
