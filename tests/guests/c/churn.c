/* churn SEED: random changes of a few files and directories below /, until it is killed.

   Every file is of one letter, over and over.  A large one is only ever moved, linked, removed or given another mode;
   a small one, of a page, is also written, whole and at once.  So whoever finds another file knows that it is half. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char page[4096];

static const char *place(void)
{
	static char paths[2][64];
	static int next;
	char *path = paths[next ^= 1];
	int deep = random() % 3;
	sprintf(path, "/%s%s%c", deep > 0 ? "d/" : "", deep > 1 ? "e/" : "", "abcdefgh"[random() % 8]);
	return path;
}

int main(int argc, char **argv)
{
	srandom(atoi(argv[1]));
	for (;;) {
		const char *path = place();
		struct stat status;
		int fd;
		switch (random() % 10) {
		case 0: chmod(path, 0700 | random() % 64); break;
		case 1: case 2: rename(path, place()); break;
		case 3: renameat2(AT_FDCWD, path, AT_FDCWD, place(), RENAME_EXCHANGE); break;
		case 4: unlink(path); break;
		case 5: rmdir(path); break;
		case 6: mkdir(path, 0755); break;
		case 7: link(path, place()); break;
		case 8:
			if (!lstat(path, &status) && S_ISREG(status.st_mode) && status.st_size == sizeof page) {
				memset(page, 'a' + random() % 26, sizeof page);
				fd = open(path, O_WRONLY);
				pwrite(fd, page, sizeof page, 0);
				close(fd);
			}
			break;
		case 9: /* written where nobody looks, and moved into place */
			memset(page, 'a' + random() % 26, sizeof page);
			fd = open("/tmp/new", O_WRONLY | O_CREAT | O_TRUNC, 0644);
			pwrite(fd, page, sizeof page, 0);
			close(fd);
			rename("/tmp/new", path);
			break;
		}
	}
}
