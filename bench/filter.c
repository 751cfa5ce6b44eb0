/*
 * Run a program under a seccomp filter of one instruction, "allow": what any sandbox that has a filter pays at the least.
 *
 *     filter PROGRAM [ARGUMENT...]
 *
 * The filter's flags are those of int80's own.  Works as any user: no_new_privs is all that a filter asks for.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "filter: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    if (argc < 2) {
        fprintf(stderr, "usage: filter PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return fail("PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program))
        return fail("no filter");
    execv(argv[1], argv + 1);
    return fail(argv[1]);
}
