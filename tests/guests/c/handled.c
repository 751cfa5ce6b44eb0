/* A fault that its program handles, and goes on. */
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

static sigjmp_buf back;

static void handler(int number) { siglongjmp(back, number); }

int main(void) {
    signal(SIGSEGV, handler);
    if (!sigsetjmp(back, 1))
        *(volatile int *)0 = 1;
    write(1, "handled\n", 8);
    return 0;
}
