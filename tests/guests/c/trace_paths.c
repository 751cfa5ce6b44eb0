/* trace_paths: calls that name one file, by its whole name or through a descriptor, and calls that do not: for -P. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char file[PATH_MAX];

static void by_name(void)
{
	char buffer[256];
	struct stat status;
	struct statfs system;

	stat(file, &status);
	lstat(file, &status);
	syscall(SYS_statx, AT_FDCWD, file, 0, 1, buffer);
	statfs(file, &system);
	access(file, R_OK);
	syscall(SYS_faccessat2, AT_FDCWD, file, R_OK, 0);
	readlink(file, buffer, 9);
	getxattr(file, "user.none", buffer, 9);
	chmod(file, 0600);
	truncate(file, 5);
	rename(file, "none/other");
	link(file, "none/other");
	symlink("other", file);
	mknod(file, S_IFREG, 0);
	utimensat(AT_FDCWD, file, NULL, 0);
	syscall(SYS_inotify_add_watch, -1, file, IN_ACCESS);
	execl(file, "file", (char *)NULL);
	stat("other", &status);
	open("file", O_RDONLY);
	open("none", O_RDONLY);
}

static void by_descriptor(int fd, int null)
{
	char buffer[16];
	struct stat status;
	struct pollfd polled[2] = { { null, POLLIN }, { fd, POLLIN } };
	struct timespec none = { 0 };
	struct timeval nothing = { 0 };
	struct epoll_event event = { EPOLLOUT };
	fd_set set;

	fstat(fd, &status);
	fstat(null, &status);
	read(fd, buffer, 3);
	read(null, buffer, 3);
	pread(fd, buffer, 3, 0);
	lseek(fd, 0, SEEK_SET);
	flock(fd, LOCK_SH);
	fcntl(fd, F_GETFL);
	close(dup(fd));
	fchmod(fd, 0600);
	mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	sendfile(null, fd, NULL, 3);
	copy_file_range(fd, NULL, null, NULL, 3, 0);
	openat(fd, "x", O_RDONLY);
	poll(polled, 1, 0);
	poll(polled, 2, 0);
	ppoll(polled, 2, &none, NULL);
	FD_ZERO(&set);
	FD_SET(null, &set);
	select(null + 1, &set, NULL, NULL, &nothing);
	FD_SET(fd, &set);
	nothing = (struct timeval){ 0 };
	select(null + 1, NULL, &set, NULL, &nothing);
	epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, null, &event);
	epoll_ctl(-1, EPOLL_CTL_ADD, fd, &event);
}

int main(void)
{
	if (!getcwd(file, sizeof file - 5))
		return 1;
	strcat(file, "/file");
	int fd = open(file, O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDWR);
	if (write(fd, "hello", 5) != 5)
		return 1;
	by_name();
	by_descriptor(fd, null);
	return unlink(file) != 0;
}
