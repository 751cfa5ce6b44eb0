/* level KIND COUNT...: does what KIND says COUNT times, says "done", and waits for a line before the next COUNT.

   What is made is ended or removed again each time, so whoever serves it has nothing to keep. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern char **environ;
static const char *me;

static void must(int good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void reap(pid_t pid)
{
	must(waitpid(pid, NULL, 0) == pid, "waitpid");
}

static void forks(int i)
{
	pid_t pid = fork();
	must(pid >= 0, "fork");
	if (!pid)
		_exit(0);
	reap(pid);
}

static void orphans(int i)
{
	pid_t pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		setsid();
		if (!fork())
			_exit(0);
		_exit(0);
	}
	reap(pid);
	while (waitpid(-1, NULL, WNOHANG) > 0); /* those that init is handed, if this is init */
}

static void execs(int i)
{
	pid_t pid;
	char *argv[] = {(char *)me, "nothing", NULL};
	must(!posix_spawn(&pid, me, NULL, NULL, argv, environ), "posix_spawn");
	reap(pid);
}

static void *nothing(void *unused)
{
	return NULL;
}

static void threads(int i)
{
	pthread_t thread;
	must(!pthread_create(&thread, NULL, nothing, NULL), "pthread_create");
	pthread_join(thread, NULL);
}

static void files(int i)
{
	char name[64], other[64], text[8];
	sprintf(name, "/tmp/file-%d", i);
	sprintf(other, "/tmp/other-%d", i);
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(fd >= 0 && write(fd, "text", 4) == 4, "open");
	void *map = mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0);
	must(map != MAP_FAILED, "mmap");
	munmap(map, 4);
	must(!fchmod(fd, 04711) && !fchown(fd, 1 + i % 1000, 7), "fchown");
	fsetxattr(fd, "user.kept", "value", 5, 0); /* not every file system has them */
	close(fd);
	must(!rename(name, other) && !link(other, name) && !unlink(other), "rename");
	must(!symlink(name, other) && readlink(other, text, sizeof text) > 0 && !unlink(other), "symlink");
	must(!mkdir(other, 0755) && !rmdir(other), "mkdir");
	must(!unlink(name), "unlink");
}

static void directories(int i)
{
	char name[64];
	sprintf(name, "/tmp/directory-%d", i);
	must(!mkdir(name, 0755) && !chdir(name) && !mkdir("inner", 0755) && !chdir("inner"), "mkdir");
	close(open("file", O_CREAT | O_WRONLY, 0600));
	DIR *listing = opendir(".");
	while (readdir(listing));
	closedir(listing);
	if (i % 32 == 0) { /* the kernel takes its time to end one */
		int watch = inotify_init1(IN_CLOEXEC);
		must(inotify_add_watch(watch, ".", IN_CREATE) >= 0, "inotify_add_watch");
		close(watch);
	}
	must(!unlink("file") && !chdir("/"), "unlink");
	sprintf(name, "/tmp/directory-%d/inner", i);
	must(!rmdir(name), "rmdir");
	sprintf(name, "/tmp/directory-%d", i);
	must(!rmdir(name), "rmdir");
}

static void *open_to_write(void *name)
{
	return (void *)(long)open(name, O_WRONLY);
}

static void fifos(int i)
{
	char name[64];
	void *other;
	pthread_t thread;
	sprintf(name, "/tmp/fifo-%d", i);
	must(!mkfifo(name, 0600), "mkfifo");
	pthread_create(&thread, NULL, open_to_write, name);
	int fd = open(name, O_RDONLY);
	pthread_join(thread, &other);
	must(fd >= 0 && (long)other >= 0, "open");
	close(fd);
	close((long)other);
	unlink(name);
}

static void handler(int number) {}

static void *supersede(void *turns)
{
	for (long n = (long)turns; n; n--)
		sched_yield();
	execl(me, me, "nothing", NULL);
	return NULL;
}

static void fifos_given_up(int i)
{
	char name[64];
	sprintf(name, "/tmp/fifo-%d", i);
	must(!mkfifo(name, 0600), "mkfifo");
	int told[2];
	must(!pipe(told), "pipe");
	pid_t pid = fork();
	if (!pid) {
		struct sigaction action = {.sa_handler = handler};
		sigaction(SIGUSR1, &action, NULL);
		pthread_t thread;
		if (i % 3 == 2)
			pthread_create(&thread, NULL, supersede, (void *)(long)(i % 100));
		write(told[1], "", 1);
		open(name, O_RDONLY);
		if (i % 3 == 2)
			pause();
		_exit(0);
	}
	if (i % 3 != 2)
		read(told[0], name + 63, 1);
	if (i % 3 == 0)
		kill(pid, SIGKILL);
	if (i % 3 == 1) {
		kill(pid, SIGUSR1); /* which may come too early to interrupt anything */
		kill(pid, SIGTERM);
	}
	reap(pid);
	close(told[0]);
	close(told[1]);
	unlink(name);
}

static void unix_sockets(int i)
{
	struct sockaddr_un address = {AF_UNIX};
	socklen_t length;
	if (i % 2) {
		length = offsetof(struct sockaddr_un, sun_path) + sprintf(address.sun_path + 1, "name-%d", i) + 1;
	} else {
		sprintf(address.sun_path, "/tmp/socket-%d", i);
		length = sizeof address;
	}
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	must(!bind(server, (void *)&address, length) && !listen(server, 5), "bind");
	must(!connect(client, (void *)&address, length), "connect");
	int accepted = accept(server, NULL, NULL);
	must(accepted >= 0, "accept");
	struct iovec data = {"x", 1};
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &server, sizeof server);
	must(sendmsg(client, &message, 0) == 1, "sendmsg");
	char byte;
	data.iov_base = &byte;
	must(recvmsg(accepted, &message, 0) == 1, "recvmsg");
	header = CMSG_FIRSTHDR(&message);
	must(header != NULL, "recvmsg");
	int passed;
	memcpy(&passed, CMSG_DATA(header), sizeof passed);
	close(passed);
	close(accepted);
	close(client);
	close(server);
	if (!(i % 2))
		unlink(address.sun_path);
}

static void inet_sockets(int i)
{
	struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof address;
	int type = i % 2 ? SOCK_STREAM : SOCK_DGRAM;
	int server = socket(AF_INET, type, 0), client = socket(AF_INET, type, 0), accepted = -1;
	must(!bind(server, (void *)&address, length), "bind");
	must(type == SOCK_DGRAM || !listen(server, 5), "listen");
	must(!getsockname(server, (void *)&address, &length), "getsockname");
	must(!connect(client, (void *)&address, length), "connect");
	if (type == SOCK_STREAM)
		must((accepted = accept(server, (void *)&address, &length)) >= 0, "accept");
	else
		must(send(client, "x", 1, 0) == 1, "send");
	close(accepted);
	close(client);
	close(server);
	int netlink = socket(AF_NETLINK, SOCK_RAW, 0);
	must(netlink >= 0, "netlink");
	close(netlink);
}

static void terminals(int i)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), off = 0;
	must(master >= 0 && !grantpt(master) && !unlockpt(master), "ptmx");
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	must(slave >= 0, "pts");
	close(slave);
	close(master);
}

static void processes(int i)
{
	static const char *const names[] = {"status", "maps", "stat", "cmdline", "fd/0", "fdinfo/0", "comm", "mountinfo"};
	char path[64], text[4096];
	int stop[2];
	must(!pipe(stop), "pipe");
	pid_t pid = fork();
	if (!pid) {
		close(stop[1]);
		read(stop[0], text, 1);
		_exit(0);
	}
	for (int n = 0; n < 8; n++) {
		sprintf(path, "/proc/%d/%s", pid, names[n]);
		int fd = open(path, O_RDONLY | O_NONBLOCK);
		read(fd, text, sizeof text);
		close(fd);
	}
	sprintf(path, "/proc/%d/task", pid);
	int directory = open(path, O_RDONLY | O_DIRECTORY);
	must(directory >= 0, "task");
	close(stop[0]);
	close(stop[1]);
	reap(pid);
	close(directory);
}

static void objects(int i)
{
	int shm = shmget(IPC_PRIVATE, 4096, 0600), msg = msgget(1000 + i, IPC_CREAT | 0600), sem = semget(IPC_PRIVATE, 1, 0600);
	must(shm >= 0 && msg >= 0 && sem >= 0, "shmget");
	void *at = shmat(shm, NULL, 0);
	must(at != (void *)-1 && !shmctl(shm, IPC_RMID, NULL) && !shmdt(at), "shmat");
	must(!msgctl(msg, IPC_RMID, NULL) && !semctl(sem, 0, IPC_RMID), "msgctl");
	char name[32];
	sprintf(name, "/queue-%d", i);
	mqd_t queue = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
	must(queue >= 0 && !mq_unlink(name), "mq_open");
	mq_close(queue);
}

static void users(int i)
{
	pid_t pid = fork();
	if (!pid) {
		gid_t groups[] = {1, 2, 3};
		setgroups(3, groups);
		setresgid(i % 1000, i % 1000, i % 1000);
		setresuid(1 + i % 1000, 1 + i % 1000, 1 + i % 1000);
		close(open("/etc/passwd", O_RDONLY));
		close(open("/tmp/none", O_RDONLY));
		_exit(0);
	}
	reap(pid);
}

static void killed_threads(int i)
{
	pid_t pid = fork();
	if (!pid) {
		pthread_t thread;
		for (int n = 0; n < 4; n++)
			pthread_create(&thread, NULL, (void *(*)(void *))pause, NULL);
		if (i % 2) {
			execl(me, me, "nothing", NULL);
			_exit(1);
		}
		kill(getpid(), SIGKILL);
	}
	reap(pid);
}

/* A thread executes, in the place and under the number of the first, and is killed on the way. */
static void killed_execs(int i)
{
	pid_t pid = fork();
	if (!pid) {
		pthread_t thread;
		pthread_create(&thread, NULL, supersede, (void *)0);
		pause();
	}
	for (int n = 0; n < i % 128 * 16; n++)
		sched_yield();
	kill(pid, SIGKILL);
	reap(pid);
}

/* Ten gates where there was none before: half of them stay as they are, for the code behind uses rcx. */
static void sites(int i)
{
	static const char code[2][16] = {"\xb8\x27\0\0\0\xcd\x80\x31\xc9\x45\x31\xdb\xc3", "\xb8\x27\0\0\0\xcd\x80\x48\x89\xc8\xc3"};
	static char *memory;
	if (!memory)
		memory = mmap(NULL, 1 << 30, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(memory != MAP_FAILED, "mmap");
	for (char *site = memory + 160 * i; site < memory + 160 * (i + 1); site += 16) {
		memcpy(site, code[site - memory >> 4 & 1], 16);
		((int (*)(void))site)();
	}
}

static const struct { const char *name; void (*once)(int); } kinds[] = {
	{"forks", forks}, {"orphans", orphans}, {"execs", execs}, {"threads", threads}, {"killed-threads", killed_threads},
	{"killed-execs", killed_execs},
	{"files", files}, {"directories", directories}, {"fifos", fifos}, {"fifos-given-up", fifos_given_up},
	{"unix-sockets", unix_sockets}, {"inet-sockets", inet_sockets}, {"terminals", terminals}, {"processes", processes},
	{"objects", objects}, {"users", users}, {"sites", sites},
};

int main(int argc, char **argv)
{
	static int i;
	me = argv[0];
	for (int kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
		if (!strcmp(kinds[kind].name, argv[1]))
			for (int round = 2; round < argc; round++) {
				for (int n = 0; n < atoi(argv[round]); n++)
					kinds[kind].once(i++);
				puts("done");
				fflush(stdout);
				getchar();
			}
	return 0;
}
