/* sockets HOW [ARG...]: sockets of every kind; what leads outside is tried in every way, and changed while it is used. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int stop;

#define SEEN ({ __asm__ volatile("" ::: "memory"); }) /* each change reaches memory */

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static const char *failed(long result)
{
	return result < 0 ? strerrorname_np(errno) : "done";
}

/* "@name" is an abstract name, all else a path; the length of the address. */
static socklen_t address(struct sockaddr_un *to, const char *name)
{
	memset(to, 0, sizeof *to);
	to->sun_family = AF_UNIX;
	strncpy(to->sun_path, name, sizeof to->sun_path - 1);
	if (*name == '@') {
		to->sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + strlen(name);
	}
	return offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1;
}

static long send_message(int fd, void *name, socklen_t length, const char *text, void *control, size_t size)
{
	struct iovec vector = {(void *)text, strlen(text)};
	struct msghdr message = {name, length, &vector, 1, control, size, 0};
	return sendmsg(fd, &message, MSG_DONTWAIT);
}

/* Every way to reach a unix socket by its name. */
static int reach(int argc, char **argv)
{
	struct sockaddr_un to;
	for (int index = 0; index < argc; index++) {
		socklen_t length = address(&to, argv[index]);
		int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
		for (int type = 0; type < 3; type++)
			printf("connect %s\n", failed(connect(socket(AF_UNIX, types[type], 0), (void *)&to, length)));
		int pair[2];
		socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
		int fds[] = {socket(AF_UNIX, SOCK_DGRAM, 0), pair[0], 0};
		for (int which = 0; which < 3; which++) {
			struct mmsghdr many = {.msg_hdr = {&to, length, &(struct iovec){"out", 3}, 1}};
			printf("sendto %s\n", failed(sendto(fds[which], "out", 3, MSG_DONTWAIT, (void *)&to, length)));
			printf("sendmsg %s\n", failed(send_message(fds[which], &to, length, "out", 0, 0)));
			printf("sendmmsg %s\n", failed(sendmmsg(fds[which], &many, 1, MSG_DONTWAIT)));
		}
		printf("connect stdin %s\n", failed(connect(0, (void *)&to, length)));
	}
	return 0;
}

/* An address that one thread keeps changing. */
static union {
	struct sockaddr_un local;
	struct sockaddr_in inet;
} shared;
static struct sockaddr_un here, there;
static socklen_t length;
static struct msghdr message;
static in_port_t good, bad;

static void *flip_name(void *unused)
{
	for (unsigned turn = 0; !stop; turn++, SEEN)
		memcpy(&shared.local, turn & 1 ? &here : &there, sizeof here);
	return unused;
}

static void *flip_pointer(void *unused)
{
	for (unsigned turn = 0; !stop; turn++, SEEN) {
		message.msg_name = turn & 1 ? (void *)&here : (void *)&there;
		message.msg_namelen = turn & 3 ? length : 0;
	}
	return unused;
}

static void *flip_port(void *unused)
{
	for (unsigned turn = 0; !stop; turn++, SEEN)
		shared.inet.sin_port = turn & 1 ? good : bad;
	return unused;
}

static int swap_descriptor;
static int descriptors[2];

static void *flip_descriptor(void *unused)
{
	for (unsigned turn = 0; !stop; turn++)
		dup2(descriptors[turn & 1], swap_descriptor);
	return unused;
}

/* A race is run for half a second, and until both ends have been seen often, but not for ever. */
enum { MANY = 50 };

static int goes_on(double begin, int one, int other)
{
	double passed = now() - begin;
	return passed < 0.5 || ((one < MANY || other < MANY) && passed < 3);
}

/* A name that means a socket inside or one outside; both are as long. */
static int race(const char *how, const char *inside, const char *outside)
{
	pthread_t thread;
	length = address(&there, outside);
	if (address(&here, inside) != length)
		return 2;
	shared.local = here;
	int dgram = strcmp(how, "connect") && strcmp(how, "bind");
	int server = socket(AF_UNIX, dgram ? SOCK_DGRAM : SOCK_STREAM, 0);
	if (strcmp(how, "bind")) {
		if (bind(server, (void *)&here, length))
			return 3;
		if (!dgram)
			listen(server, 1000);
	}
	struct iovec vector = {"text", 4};
	message = (struct msghdr){strcmp(how, "pointer") ? (void *)&shared.local : (void *)&here, length, &vector, 1};
	pthread_create(&thread, 0, strcmp(how, "pointer") ? flip_name : flip_pointer, 0);
	int good_ones = 0, refused = 0;
	for (double begin = now(); goes_on(begin, good_ones, refused);) {
		int fd = socket(AF_UNIX, dgram ? SOCK_DGRAM : SOCK_STREAM, 0);
		long result;
		if (!strcmp(how, "connect"))
			result = connect(fd, (void *)&shared.local, length);
		else if (!strcmp(how, "bind"))
			result = bind(fd, (void *)&shared.local, length);
		else if (!strcmp(how, "sendto"))
			result = sendto(fd, "text", 4, MSG_DONTWAIT, (void *)&shared.local, length);
		else
			result = sendmsg(fd, &message, MSG_DONTWAIT);
		if (result >= 0) {
			good_ones++;
			if (!dgram && strcmp(how, "bind"))
				close(accept(server, 0, 0));
			else if (dgram) {
				char got[8];
				recv(server, got, sizeof got, MSG_DONTWAIT);
			} else if (here.sun_path[0])
				unlink(inside);
		} else
			refused++;
		close(fd);
	}
	stop = 1;
	pthread_join(thread, 0);
	printf("%d inside, %d refused\n", good_ones, refused);
	return 0;
}

/* A descriptor that is now a connected stream, now a datagram socket that would heed the address. */
static int race_descriptor(const char *outside)
{
	pthread_t thread;
	int pair[2];
	length = address(&there, outside);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
	descriptors[0] = pair[0];
	descriptors[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	swap_descriptor = dup(pair[0]);
	pthread_create(&thread, 0, flip_descriptor, 0);
	int through = 0;
	for (double begin = now(); goes_on(begin, through, MANY);) {
		char got[64];
		if (send_message(swap_descriptor, 0, 0, "stream", 0, 0) > 0)
			through++;
		send_message(swap_descriptor, &there, length, "out", 0, 0);
		sendto(swap_descriptor, "out", 3, MSG_DONTWAIT, (void *)&there, length);
		while (recv(pair[1], got, sizeof got, MSG_DONTWAIT) > 0)
			;
	}
	stop = 1;
	pthread_join(thread, 0);
	printf("%d inside\n", through);
	return 0;
}

/* A port that may be connected to and one that may not. */
static int race_inet(const char *how, int allowed, int forbidden)
{
	pthread_t thread;
	int dgram = !strcmp(how, "dgram"), reached = 0, refused = 0;
	good = htons(allowed), bad = htons(forbidden);
	shared.inet = (struct sockaddr_in){AF_INET, good, {htonl(INADDR_LOOPBACK)}};
	struct iovec vector = {"text", 4};
	struct msghdr to = {&shared.inet, sizeof shared.inet, &vector, 1};
	pthread_create(&thread, 0, flip_port, 0);
	for (double begin = now(); goes_on(begin, reached, refused);) {
		int fd = socket(AF_INET, dgram ? SOCK_DGRAM : SOCK_STREAM, 0);
		long result = dgram ? sendmsg(fd, &to, 0) : connect(fd, (void *)&shared.inet, sizeof shared.inet);
		if (result >= 0)
			reached++;
		else if (errno == EACCES)
			refused++;
		close(fd);
	}
	stop = 1;
	pthread_join(thread, 0);
	printf("%d reached, %d refused\n", reached, refused);
	return 0;
}

static void print_ids(const char *who, int fd)
{
	char control[256], text[16];
	struct sockaddr_un from;
	struct iovec vector = {text, sizeof text};
	struct msghdr to = {&from, sizeof from, &vector, 1, control, sizeof control};
	long count = recvmsg(fd, &to, MSG_CMSG_CLOEXEC);
	printf("%s: %ld bytes", who, count);
	for (struct cmsghdr *part = CMSG_FIRSTHDR(&to); part; part = CMSG_NXTHDR(&to, part))
		if (part->cmsg_type == SCM_CREDENTIALS) {
			struct ucred *ids = (void *)CMSG_DATA(part);
			printf(", pid %s, uid %d, gid %d", ids->pid == getpid() ? "mine" : ids->pid == 1 ? "1" : "other", ids->uid, ids->gid);
		} else if (part->cmsg_type == SCM_RIGHTS)
			printf(", %zu descriptors", (part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	printf("\n");
}

static long send_ids(int fd, void *name, socklen_t size, struct ucred ids)
{
	union {
		char bytes[CMSG_SPACE(sizeof ids)];
		struct cmsghdr header;
	} control = {{0}};
	control.header = (struct cmsghdr){CMSG_LEN(sizeof ids), SOL_SOCKET, SCM_CREDENTIALS};
	memcpy(CMSG_DATA(&control.header), &ids, sizeof ids);
	return send_message(fd, name, size, "ids", &control, sizeof control);
}

/* Who sent and who connected, in all the ways that tell it; and ids that are not the sender's. */
static int ids(void)
{
	struct sockaddr_un to;
	struct ucred mine = {getpid(), getuid(), getgid()}, peer;
	socklen_t size = sizeof peer, room = address(&to, "@ids");
	int one = 1, pair[2], server = socket(AF_UNIX, SOCK_DGRAM, 0), fd;
	setsockopt(server, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
	bind(server, (void *)&to, room);
	sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "x", 1, 0, (void *)&to, room);
	print_ids("sendto", server);
	send_ids(socket(AF_UNIX, SOCK_DGRAM, 0), &to, room, mine);
	print_ids("sendmsg", server);
	connect(fd = socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&to, room);
	send(fd, "x", 1, 0);
	print_ids("send", server);
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type += type == 2 ? 3 : 1) {
		socketpair(AF_UNIX, type, 0, pair);
		setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
		write(pair[0], "x", 1);
		print_ids("pair, write", pair[1]);
		send_ids(pair[0], 0, 0, mine);
		print_ids("pair, sendmsg", pair[1]);
		getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size);
		printf("pair, peer: pid %s, uid %d\n", peer.pid == getpid() ? "mine" : "other", peer.uid);
	}
	fflush(stdout);
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	umask(0);
	unlink("/tmp/ids");
	room = address(&to, "/tmp/ids");
	bind(server, (void *)&to, room);
	listen(server, 1);
	int child = fork();
	if (!child) {
		setresgid(7, 7, 7);
		setresuid(8, 8, 8);
		connect(fd = socket(AF_UNIX, SOCK_STREAM, 0), (void *)&to, room);
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
		printf("server: pid %s, uid %d\n", peer.pid == getppid() ? "right" : "wrong", peer.uid);
		setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
		printf("another's pid: %s\n", failed(send_ids(fd, 0, 0, (struct ucred){1, 8, 7})));
		printf("another's uid: %s\n", failed(send_ids(fd, 0, 0, (struct ucred){getpid(), 0, 7})));
		printf("its own: %s\n", failed(send_ids(fd, 0, 0, (struct ucred){getpid(), 8, 7})));
		fflush(stdout);
		_exit(0);
	}
	fd = accept(server, 0, 0);
	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	waitpid(child, 0, 0);
	printf("client: pid %s, uid %d, gid %d\n", peer.pid == child ? "right" : "wrong", peer.uid, peer.gid);
	print_ids("message", fd);
	return 0;
}

static long send_descriptor(int fd, int what)
{
	union {
		char bytes[CMSG_SPACE(sizeof what)];
		struct cmsghdr header;
	} control = {{0}};
	control.header = (struct cmsghdr){CMSG_LEN(sizeof what), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), &what, sizeof what);
	return send_message(fd, 0, 0, "fd", &control, sizeof control);
}

/* Sockets sent over themselves, and over each other, and closed. */
static int cycles(void)
{
	int pair[2], other[2], sent = 0;
	for (int turn = 0; turn < 300; turn++) {
		socketpair(AF_UNIX, turn & 1 ? SOCK_DGRAM : SOCK_STREAM, 0, pair);
		socketpair(AF_UNIX, SOCK_SEQPACKET, 0, other);
		sent += send_descriptor(pair[0], pair[1]) > 0;
		sent += send_descriptor(pair[0], other[0]) > 0;
		sent += send_descriptor(other[1], pair[0]) > 0;
		for (int which = 0; which < 2; which++)
			close(pair[which]), close(other[which]);
	}
	printf("%d sent; a closed one: %s\n", sent, failed(send_descriptor(pair[0], 99)));
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	printf("a closed descriptor: %s\n", failed(send_descriptor(pair[0], 99)));
	return 0;
}

static void on_alarm(int number)
{
}

static void alarm_in(int flags, long microseconds)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
	struct itimerval timer = {{0, 0}, {0, microseconds}};
	sigaction(SIGALRM, &action, 0);
	setitimer(ITIMER_REAL, &timer, 0);
}

static int listener;

static void *accept_in_a_while(void *unused)
{
	usleep(200000);
	for (int turn = 0; turn < 3; turn++)
		accept(listener, 0, 0);
	return unused;
}

static void *read_in_a_while(void *from)
{
	static char buffer[1 << 16];
	usleep(200000);
	for (long left = 1 << 22; left > 0;)
		left -= read(*(int *)from, buffer, sizeof buffer);
	return from;
}

/* What waits is interrupted, or goes on, as the signal's disposition says. */
static int waits(void)
{
	static char large[1 << 22];
	struct sockaddr_un to;
	pthread_t thread;
	int fd, pair[2], count = 0;
	socklen_t room = address(&to, "@full");
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(listener, (void *)&to, room);
	listen(listener, 1);
	while (!connect(fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (void *)&to, room))
		count++;
	printf("%d waiting, then %s\n", count, failed(-1));
	fcntl(fd, F_SETFL, 0);
	alarm_in(0, 50000);
	printf("connect %s\n", failed(connect(fd, (void *)&to, room)));
	pthread_create(&thread, 0, accept_in_a_while, 0);
	alarm_in(SA_RESTART, 50000);
	printf("connect, restarted: %s\n", failed(connect(fd, (void *)&to, room)));
	pthread_join(thread, 0);

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	struct iovec vector = {large, sizeof large};
	struct msghdr all = {.msg_iov = &vector, .msg_iovlen = 1};
	alarm_in(0, 50000);
	long sent = sendmsg(pair[0], &all, 0);
	printf("sendmsg, cut short: %s\n", sent > 0 && sent < sizeof large ? "yes" : failed(sent));
	while (recv(pair[1], large, sizeof large, MSG_DONTWAIT) > 0)
		;
	pthread_create(&thread, 0, read_in_a_while, &pair[1]);
	printf("sendmsg, waiting: %s\n", sendmsg(pair[0], &all, 0) == sizeof large ? "all" : "less");
	pthread_join(thread, 0);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (send_message(pair[0], 0, 0, "x", 0, 0) > 0)
		;
	fcntl(pair[0], F_SETFL, 0);
	alarm_in(0, 50000);
	vector.iov_len = 1;
	printf("datagram: %s\n", failed(sendmsg(pair[0], &all, 0)));
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	close(pair[1]);
	printf("nobody reads: %s\n", failed(sendmsg(pair[0], &all, 0)));
	fflush(stdout);
	int status, child = fork();
	if (!child) {
		signal(SIGPIPE, SIG_DFL);
		sendmsg(pair[0], &all, MSG_NOSIGNAL);
		sendmsg(pair[0], &all, 0);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("signal: %s\n", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "none");
	return 0;
}

/* Sockets that were handed in: an internet socket on 0, which nothing may be reached with. */
static int handed(int port)
{
	struct sockaddr_in to = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}}, any = {AF_INET};
	struct sockaddr nobody = {AF_UNSPEC};
	int one = 1;
	signal(SIGPIPE, SIG_IGN);
	printf("connect %s\n", failed(connect(0, (void *)&to, sizeof to)));
	printf("sendto %s\n", failed(sendto(0, "out", 3, 0, (void *)&to, sizeof to)));
	printf("sendmsg %s\n", failed(send_message(0, &to, sizeof to, "out", 0, 0)));
	printf("fastopen %s\n", failed(sendto(0, "out", 3, MSG_FASTOPEN, (void *)&to, sizeof to)));
	printf("bind %s\n", failed(bind(0, (void *)&any, sizeof any)));
	printf("disconnect %s\n", failed(connect(0, &nobody, sizeof nobody)));
	printf("device %s\n", failed(setsockopt(0, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2)));
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	setvbuf(stdout, 0, _IOFBF, 1 << 16);
	if (!strcmp(how, "reach"))
		return reach(argc - 2, argv + 2);
	if (!strcmp(how, "race") && argc == 5)
		return race(argv[2], argv[3], argv[4]);
	if (!strcmp(how, "race-descriptor"))
		return race_descriptor(argv[2]);
	if (!strcmp(how, "race-inet"))
		return race_inet(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (!strcmp(how, "ids"))
		return ids();
	if (!strcmp(how, "cycles"))
		return cycles();
	if (!strcmp(how, "waits"))
		return waits();
	if (!strcmp(how, "handed"))
		return handed(atoi(argv[2]));
	return 2;
}
