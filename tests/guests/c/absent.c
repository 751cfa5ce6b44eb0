/* Calls that do not exist, each twice. */
#include "gate.h"

int main(void)
{
	for (int i = 0; i < 2; i++)
		if (CALL2(425, 1, 0) != -38 || CALL0(500) != -38)
			return 1;
	return 0;
}
