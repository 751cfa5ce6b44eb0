/* A program of the host ABI: it writes one line and exits.
 *
 * The note below makes it one.  A host call enters like any other, here by int 0x80: number in rax, arguments in
 * rdi rsi rdx r10 r8 r9.  It succeeded if the carry flag is clear, and rax is its value; it failed if the carry
 * flag is set, and rax is a small positive code (abi/errors.py, HostErrno).
 *
 *     gcc -nostdlib -static -o hello hello.S
 *
 * Run outside int80 it does nothing useful: the numbers are int80's own.
 */

#define HOST_EXIT 0
#define HOST_WRITE 1

        .section .note.int80, "a", @note
        .balign 4
        .long 6                         /* size of the owner's name */
        .long 4                         /* size of what follows it */
        .long 1                         /* type: which ABI */
        .asciz "int80"
        .balign 4
        .long 1                         /* the host ABI */

        .section .note.GNU-stack, "", @progbits

        .section .rodata
text:   .ascii "hello from a host program\n"
        .set size, . - text

        .text
        .globl _start
_start:
        lea text(%rip), %rsi
        mov $size, %ebx                 /* what is left to write; int 0x80 keeps every register but rax */
again:
        mov $HOST_WRITE, %eax
        mov $1, %edi
        mov %ebx, %edx
        int $0x80
        jc failed
        add %rax, %rsi                  /* a pipe may have taken only a part */
        sub %eax, %ebx
        jnz again
        xor %edi, %edi
        jmp exit
failed:
        mov %eax, %edi                  /* the HostErrno becomes the exit status */
exit:
        mov $HOST_EXIT, %eax
        int $0x80
        hlt
