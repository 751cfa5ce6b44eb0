/* A program of the host ABI: write(1) and exit(0), errors by the carry flag.  Exit status 3 if all is as it should. */
__attribute__((section(".note.int80"), aligned(4), used)) static const struct {
	unsigned name_size, size, type;
	char name[8];
	unsigned abi;
} note = {6, 4, 1, "int80", 1};

static long call(long number, long a, long b, long c, int *failed)
{
	long result;
	unsigned char carry;
	__asm__ volatile("syscall; setc %1"
			 : "=a"(result), "=q"(carry)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory", "cc");
	*failed = carry;
	return result;
}

void _start(void)
{
	static const char text[] = "hello from the host ABI\n";
	int failed, status = 3;
	long size = sizeof text - 1;
	if (call(1, 1, (long)text, size, &failed) != size || failed)
		status = 10;
	if (call(1, 99, (long)text, size, &failed) != 9 || !failed) /* BAD_DESCRIPTOR */
		status = 11;
	if (call(39, 0, 0, 0, &failed) != 1 || !failed) /* NO_CALL: no linux call is there */
		status = 12;
	call(0, status, 0, 0, &failed);
	for (;;)
		;
}
