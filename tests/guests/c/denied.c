/* What getppid and mkdir come to: two raw results on a line. */
#include "gate.h"
#include <stdio.h>

int main(void)
{
    long parent = CALL0(110);
    long made = CALL2(83, "/tmp/d", 0755);
    printf("%ld %ld\n", parent, made);
    return 0;
}
