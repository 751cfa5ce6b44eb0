/* Uses files and sockets in many ways, for the policy that is made of it.  Its working directory is empty. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void touch(const char *name)
{
	close(open(name, O_WRONLY | O_CREAT, 0600));
}

int main(void)
{
	int here = open(".", O_RDONLY | O_DIRECTORY), fd;
	struct stat status;

	touch("written");
	symlink("written", "link");
	close(open("link", O_RDONLY));
	close(open("link", O_RDONLY | O_NOFOLLOW));
	close(open("absent", O_RDONLY));
	touch("looked");
	stat("looked", &status);
	fd = open("both", O_RDWR | O_CREAT, 0600);
	fstatat(fd, "", &status, AT_EMPTY_PATH);
	mkdirat(here, "made", 0700);
	mkdirat(here, "made/below", 0700);
	chdir("made");
	touch("below/../inside");
	renameat(AT_FDCWD, "inside", here, "renamed");
	chmod("../renamed", 0600);
	chdir("..");
	close(open("/proc/self/status", O_RDONLY));
	close(open("/proc/self/fd", O_RDONLY));
	char parent[64], template[] = "/tmp/needs-XXXXXX";
	snprintf(parent, sizeof parent, "/proc/%d/stat", getppid());
	close(open(parent, O_RDONLY));
	close(mkstemp(template));
	unlink(template);

	struct sockaddr_in any = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 six = {AF_INET6, htons(9), 0, IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un name = {AF_UNIX, "socket"};
	int datagram = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET6, SOCK_DGRAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
	connect(datagram, (void *)&any, sizeof any);
	sendto(other, "x", 1, 0, (void *)&six, sizeof six);
	bind(local, (void *)&name, sizeof name);
	listen(local, 1);
	connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof name);
	any.sin_port = 0;
	bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&any, sizeof any);

	FILE *script = fopen("script", "w");
	fputs("#!/bin/sh\nexit 0\n", script);
	fclose(script);
	chmod("script", 0700);
	if (!fork()) {
		execl("./script", "script", NULL);
		_exit(1);
	}
	wait(NULL);
	return 0;
}
