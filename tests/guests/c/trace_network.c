/*
 * Every socket call, in many shapes, for the comparison of traces with strace's.
 *
 * Addresses are of the loopback device and chosen once, so that two runs say the same; connections are reset rather than
 * closed, so that a second run finds the ports free.  Nothing is sent to another machine, and netlink messages only to
 * the socket they come from, so that nothing is left behind and nothing changed, whoever runs it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define BAD ((void *)0x10)
#define CALL(name, ...) syscall(SYS_##name __VA_OPT__(,) __VA_ARGS__)
#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define NOWHERE (-1L)

static char *edge; /* the end of the last page that can be read */

/* A copy of some bytes that ends where memory ends. */
static void *last(const void *data, size_t size)
{
	return memcpy(edge - size, data, size);
}

static void *zeros(size_t size)
{
	return memset(edge - size, 0, size);
}

static struct sockaddr_in inet4(const char *address, int port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, address, &result.sin_addr);
	return result;
}

static struct sockaddr_in6 inet6(const char *address, int port, int flow, int scope)
{
	struct sockaddr_in6 result = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_flowinfo = htonl(flow), .sin6_scope_id = scope};
	inet_pton(AF_INET6, address, &result.sin6_addr);
	return result;
}

static void reset(int fd)
{
	struct linger linger = {1, 0};
	CALL(setsockopt, (long)fd, (long)SOL_SOCKET, (long)SO_LINGER, &linger, (long)sizeof(linger));
	close(fd);
}

static void sockets(void)
{
	static const long types[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 1 | SOCK_CLOEXEC, 2 | SOCK_NONBLOCK | SOCK_CLOEXEC, 1 | 1 << 20, ~0};
	static const long protocols[] = {0, 1, 6, 17, 58, 255, 262, 1000};
	int pair[2] = {-1, -1};
	for (size_t at = 0; at < COUNT(types); at++)
		CALL(socket, 99L, types[at], 7L);
	for (long family = 0; family < 46; family++)
		if (family != 23) /* infrared: gone from the kernel, and strace has another table there */
			CALL(socket, family, 15L, 1L);
	for (size_t at = 0; at < COUNT(protocols); at++) {
		CALL(socket, (long)AF_INET, 15L, protocols[at]);
		CALL(socket, (long)AF_INET6, 15L, protocols[at]);
	}
	for (long protocol = 0; protocol < 24; protocol++) {
		CALL(socket, (long)AF_NETLINK, 15L, protocol);
		CALL(socket, (long)AF_PACKET, 15L, protocol << 8);
		CALL(socket, (long)AF_BLUETOOTH, 15L, protocol);
	}
	CALL(socketpair, (long)AF_UNIX, (long)SOCK_STREAM, 0L, pair);
	close(pair[0]), close(pair[1]);
	CALL(socketpair, (long)AF_INET, (long)SOCK_STREAM, 0L, pair);
	CALL(socketpair, (long)AF_UNIX, 99L, 0L, NULL);
	CALL(socketpair, (long)AF_UNIX, (long)SOCK_STREAM, 0L, BAD);
	for (long how = 0; how < 5; how++)
		CALL(shutdown, NOWHERE, how);
	CALL(listen, NOWHERE, 128L);
	CALL(listen, 0L, NOWHERE);
}

#define BIND(...)                                                  \
	do {                                                           \
		static const unsigned char address[] = {__VA_ARGS__};      \
		CALL(bind, NOWHERE, last(address, sizeof(address)), (long)sizeof(address)); \
	} while (0)

static void addresses(void)
{
	struct sockaddr_in address = inet4("127.0.0.1", 80);
	struct sockaddr_in6 links[] = {inet6("fe80::1", 80, 5, 1), inet6("ff02::1", 80, 0x12345, 1), inet6("::1", 443, 0, 3),
		inet6("::ffff:1.2.3.4", 0, 0, 0), inet6("fe80::1", 1, 0, 99)};
	BIND(1, 0, '/', 't', 'm', 'p', '/', 'x', 0);
	BIND(1, 0, '/', 't', 'm', 'p', '/', 'x');
	BIND(1, 0);
	BIND(1, 0, 0, 'a', 'b', 0, 'c');
	BIND(1, 0, 0);
	BIND(1, 0, 0, 0, 0);
	BIND(1);
	BIND(2, 0);
	BIND(2, 0, 0, 80);
	BIND(2, 0, 0, 80, 127, 0, 0, 1);
	BIND(10, 0, 0, 80, 0, 0, 0, 0, 0, 0);
	BIND(16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	BIND(16, 0, 5, 0, 77, 0, 0, 0, 17, 0, 0, 0);
	BIND(16, 0, 5, 0, 77, 0);
	BIND(17, 0, 0, 3, 1, 0, 0, 0, 1, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0);
	BIND(17, 0, 8, 0, 99, 0, 0, 0, 4, 3, 4, 9, 1, 2, 3, 4, 5, 6, 7, 8);
	BIND(17, 0, 18, 52, 0, 0, 0, 0, 231, 3, 14, 0, 1, 2, 3, 4, 5, 6, 7, 8);
	BIND(17, 0, 8, 0, 1, 0);
	BIND(40, 0, 0, 0, 210, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0);
	BIND(40, 0, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 1);
	BIND(31, 0, 1, 0);
	BIND(31, 0, 1, 0, 2, 0);
	BIND(31, 0, 1, 2, 3, 4, 5, 6, 7, 0);
	BIND(31, 0, 3, 0, 1, 2, 3, 4, 5, 6, 5, 0);
	BIND(31, 0, 52, 18, 1, 2, 3, 4, 5, 6, 64, 0, 2, 0);
	BIND(44, 0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0);
	BIND(4, 0, 64, 1, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 2, 0);
	BIND(9, 0, '1', '2', '3', '4', '5', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	BIND(45, 0, 'h', 'e', 'l', 'l', 'o');
	BIND(99, 0, 'h', 'e', 'l', 'l', 'o');
	BIND(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
	CALL(bind, NOWHERE, last(&address, sizeof(address)), (long)sizeof(address));
	for (size_t at = 0; at < COUNT(links); at++)
		CALL(connect, NOWHERE, last(&links[at], sizeof(links[at])), (long)sizeof(links[at]));
	CALL(connect, NOWHERE, last(&links[0], 24), 24L);
	CALL(connect, NOWHERE, last(&links[0], 26), 26L);
	for (long length = -1; length < 5; length++)
		CALL(connect, NOWHERE, last("\1\0abc\0", 6), length);
	CALL(connect, NOWHERE, NULL, 16L);
	CALL(connect, NOWHERE, BAD, 16L);
	CALL(connect, NOWHERE, last(&address, sizeof(address)), 200L);
}

static void set(long level, long option, const void *value, long size, long said)
{
	CALL(setsockopt, NOWHERE, level, option, value ? last(value, size) : NULL, said);
}

static void options(void)
{
	static const long levels[] = {0, 1, 2, 6, 17, 41, 58, 132, 136, 255, 263, 270, 271, 280, 281, 282, 283, 300};
	static const struct { long level, first, count; } known[] = {
		{SOL_SOCKET, 0, 76}, {IPPROTO_IP, 0, 51}, {IPPROTO_IP, 64, 2}, {IPPROTO_IPV6, 0, 79}, {IPPROTO_TCP, 0, 38},
		{IPPROTO_UDP, 0, 3}, {IPPROTO_UDP, 99, 7}, {SOL_PACKET, 0, 25}, {SOL_NETLINK, 0, 14}, {132, 0, 38}, {282, 0, 3}};
	static const unsigned char values[] = {5, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
	static const unsigned masks[] = {0, 1, 0x101, 0xffffffff, 0xfffffffe, 1 << 30};
	static const struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog program = {COUNT(code), (struct sock_filter *)code};
	struct packet_mreq member = {1, PACKET_MR_MULTICAST, 6, {1, 2, 3, 4, 5, 6, 7, 8}};
	struct { int index; int pad; struct sockaddr_in where; char rest[112]; } group = {1, 0, inet4("224.0.0.1", 0), {0}};
	struct { struct in6_addr where; int index; } member6 = {IN6ADDR_LOOPBACK_INIT, 1};
	for (size_t at = 0; at < COUNT(levels); at++)
		set(levels[at], 1, values, sizeof(values), 4);
	for (size_t at = 0; at < COUNT(known); at++)
		for (long option = known[at].first; option < known[at].first + known[at].count; option++) {
			set(known[at].level, option, values, sizeof(values), 4);
			set(known[at].level, option, values, sizeof(values), 8);
		}
	for (long said = -1; said < 10; said++) {
		set(SOL_SOCKET, SO_REUSEADDR, values, 8, said);
		set(SOL_SOCKET, SO_LINGER, values, 8, said);
		set(SOL_SOCKET, SO_RCVTIMEO, values, 16, said);
		set(SOL_SOCKET, SO_BINDTODEVICE, "lo\0abc", 7, said < 8 ? said : 7);
		set(IPPROTO_TCP, TCP_CONGESTION, "reno", 5, said < 6 ? said : 5);
	}
	set(SOL_SOCKET, SO_REUSEADDR, NULL, 0, 4);
	set(SOL_SOCKET, SO_BINDTODEVICE, "a device of a name that is far too long for one", 48, 48);
	set(SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program), sizeof(program));
	set(SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program), 12);
	set(SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program), sizeof(program));
	for (size_t at = 0; at < COUNT(masks); at++) {
		set(255, 1, &masks[at], 4, 4);
		set(SOL_SOCKET, 74, &masks[at], 4, 4);
	}
	for (long said = 15; said < 18; said++)
		set(SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof(member), said);
	set(SOL_PACKET, PACKET_RX_RING, values, 16, 16);
	set(IPPROTO_IP, IP_ADD_MEMBERSHIP, "\340\0\0\1\177\0\0\1", 8, 8);
	set(IPPROTO_IP, IP_ADD_MEMBERSHIP, "\340\0\0\1\177\0\0\1", 8, 4);
	set(IPPROTO_IP, MCAST_JOIN_GROUP, &group, 136, 136);
	set(IPPROTO_IPV6, MCAST_LEAVE_GROUP, &group, 136, 135);
	set(IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &member6, 20, 20);
	set(IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &member6, 20, 16);
}

static void get(long fd, long level, long option, int room)
{
	int length = room;
	CALL(getsockopt, fd, level, option, zeros(room), &length);
}

static void gotten(void)
{
	static const struct { long level, option; } steady[] = {
		{SOL_SOCKET, SO_TYPE}, {SOL_SOCKET, SO_ERROR}, {SOL_SOCKET, SO_LINGER}, {SOL_SOCKET, SO_ACCEPTCONN},
		{SOL_SOCKET, SO_RCVTIMEO}, {SOL_SOCKET, SO_BINDTODEVICE}, {SOL_SOCKET, SO_PROTOCOL}, {SOL_SOCKET, SO_DOMAIN},
		{SOL_SOCKET, SO_MAX_PACING_RATE}, {SOL_SOCKET, SO_TXTIME}, {IPPROTO_IP, IP_TOS}, {IPPROTO_IP, IP_OPTIONS},
		{IPPROTO_IP, 64}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_MAXSEG}, {SOL_SOCKET, SO_GET_FILTER}, {99, 1}};
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), pair[2], length = 4;
	struct sockaddr_in closed = inet4("127.213.7.1", 9), here = inet4("127.213.7.1", 51517);
	for (size_t at = 0; at < COUNT(steady); at++) {
		get(tcp, steady[at].level, steady[at].option, 64);
		get(tcp, steady[at].level, steady[at].option, 4);
		get(tcp, steady[at].level, steady[at].option, 1);
	}
	for (int room = 0; room < 9; room++) {
		get(tcp, SOL_SOCKET, SO_LINGER, room);
		get(tcp, SOL_SOCKET, SO_KEEPALIVE, room);
	}
	get(tcp, IPPROTO_TCP, TCP_INFO, 1);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	get(pair[0], SOL_SOCKET, SO_PEERCRED, 12);
	bind(udp, (struct sockaddr *)&here, sizeof(here));
	connect(udp, (struct sockaddr *)&closed, sizeof(closed));
	send(udp, "x", 1, 0);
	get(udp, SOL_SOCKET, SO_ERROR, 4);
	CALL(getsockopt, NOWHERE, 1L, 1L, BAD, &length);
	CALL(getsockopt, (long)tcp, 1L, 2L, NULL, &length);
	CALL(getsockopt, (long)tcp, 1L, 2L, BAD, NULL);
	CALL(getsockopt, (long)tcp, 1L, 2L, BAD, BAD);
	length = -1;
	CALL(getsockopt, (long)tcp, 1L, 2L, &length, &length);
	close(tcp), close(udp), close(pair[0]), close(pair[1]);
}

static void names_of(long fd)
{
	for (int room = -1; room < 21; room++) {
		int length = room;
		CALL(getsockname, fd, zeros(32), &length);
	}
	CALL(getsockname, fd, NULL, BAD);
	CALL(getsockname, fd, zeros(16), NULL);
	CALL(getpeername, fd, BAD, last("\20\0\0\0", 4));
}

static void connections(void)
{
	struct sockaddr_in here = inet4("127.213.7.2", 51515), there = inet4("127.213.7.3", 51516);
	struct sockaddr_un hidden = {AF_UNIX, "\0int80 trace_network"};
	int on = 1, length, accepted, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client;
	char address[128];
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	bind(listener, (struct sockaddr *)&here, sizeof(here));
	listen(listener, 8);
	CALL(accept, (long)listener, NULL, NULL);
	CALL(accept, NOWHERE, address, BAD);
	CALL(accept4, NOWHERE, NULL, NULL, 0xff00L);
	for (int room = 0; room < 33; room += 4) {
		client = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		bind(client, (struct sockaddr *)&there, sizeof(there));
		connect(client, (struct sockaddr *)&here, sizeof(here));
		length = room;
		accepted = CALL(accept4, (long)listener, address, &length, (long)SOCK_CLOEXEC);
		if (!room)
			names_of(client);
		reset(client), reset(accepted);
	}
	close(listener);
	listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	length = offsetof(struct sockaddr_un, sun_path) + 20;
	bind(listener, (struct sockaddr *)&hidden, length);
	listen(listener, 1);
	connect(client, (struct sockaddr *)&hidden, length);
	names_of(client), names_of(listener);
	length = sizeof(address);
	accepted = CALL(accept, (long)listener, address, &length);
	close(client), close(listener), close(accepted);
}

static struct msghdr letter(void *name, int name_length, struct iovec *parts, long count, void *control, long length, int flags)
{
	return (struct msghdr){name, name_length, parts, count, control, length, flags};
}

/* A control message behind those there are; how many bytes there are then. */
static size_t control(char *to, size_t at, int level, int type, const void *data, size_t size)
{
	struct cmsghdr head = {CMSG_LEN(size), level, type};
	memset(to + at, 0, CMSG_SPACE(size));
	memcpy(to + at, &head, sizeof(head));
	memcpy(to + at + sizeof(head), data, size);
	return at + CMSG_SPACE(size);
}

static void messages(void)
{
	static const struct { int level, type; size_t size; } kinds[] = {
		{1, 1, 0}, {1, 1, 4}, {1, 1, 12}, {1, 1, 160}, {1, 1, 3}, {1, 2, 12}, {1, 2, 3}, {1, 3, 6}, {1, 4, 4}, {0, 1, 1}, {0, 2, 4},
		{0, 2, 1}, {0, 6, 3}, {0, 7, 40}, {0, 8, 12}, {0, 8, 4}, {0, 10, 4}, {0, 11, 32}, {0, 11, 16}, {0, 20, 16}, {0, 23, 4},
		{0, 99, 3}, {41, 50, 20}, {6, 1, 4}, {17, 103, 4}, {99, 1, 4}, {1, 29, 16}, {1, 29, 3}, {1, 35, 16}, {1, 37, 48}, {1, 37, 8},
		{1, 41, 4}, {1, 54, 8}, {1, 61, 8}, {1, 65, 48}};
	static const char data[256] = {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0};
	char controls[512];
	struct iovec parts[] = {{"abc", 3}, {"dddddddddddddddddddddddddddddddddddddddd", 40}, {"", 0}, {NULL, 5}, {BAD, 5}, {NULL, 0}};
	struct iovec many[40];
	struct msghdr head;
	struct sockaddr_un where = {AF_UNIX, "/x"};
	struct mmsghdr heads[3];
	size_t used;
#define SEND(...) (head = letter(__VA_ARGS__), CALL(sendmsg, NOWHERE, last(&head, sizeof(head)), 0L))
	SEND(NULL, 0, NULL, 0, NULL, 0, 0);
	SEND(&where, 5, parts, 3, NULL, 0, MSG_DONTWAIT);
	SEND(NULL, 0, parts, COUNT(parts), NULL, 0, ~0);
	SEND(NULL, 0, NULL, 5, NULL, 24, 0);
	SEND(&where, -1, NULL, 0, BAD, 24, 0);
	SEND(&where, 1, NULL, 0, controls, 4, 0);
	for (size_t at = 0; at < COUNT(many); at++)
		many[at] = parts[0];
	SEND(NULL, 0, many, COUNT(many), NULL, 0, 0);
	for (size_t at = 0; at < COUNT(kinds); at++) {
		used = control(controls, 0, kinds[at].level, kinds[at].type, data, kinds[at].size);
		SEND(NULL, 0, parts, 1, controls, used, 0);
		SEND(NULL, 0, parts, 1, controls, sizeof(struct cmsghdr) + kinds[at].size / 2, 0);
	}
	used = control(controls, 0, 1, 1, data, 4);
	used = control(controls, used, 1, 2, data, 12);
	SEND(NULL, 0, parts, 1, controls, used, 0);
	SEND(NULL, 0, parts, 1, controls, used + 3, 0);
	memset(controls + used, 0, 16);
	SEND(NULL, 0, parts, 1, controls, used + 16, 0);
	controls[0] = 8;
	SEND(NULL, 0, parts, 1, controls, 24, 0);
	controls[0] = 100;
	SEND(NULL, 0, parts, 1, controls, 24, 0);
	CALL(sendmsg, NOWHERE, NULL, 0L);
	CALL(sendmsg, NOWHERE, BAD, (long)(MSG_DONTWAIT | MSG_NOSIGNAL));
	CALL(sendmsg, NOWHERE, zeros(20), 0L);
	heads[0] = heads[1] = heads[2] = (struct mmsghdr){letter(NULL, 0, parts, 1, NULL, 0, 0), 7};
	CALL(sendmmsg, NOWHERE, last(heads, sizeof(heads)), 2L, (long)MSG_DONTWAIT);
	CALL(sendmmsg, NOWHERE, last(heads, sizeof(heads)), 5L, 0L);
	CALL(sendmmsg, NOWHERE, heads, 0L, 0L);
	CALL(sendmmsg, NOWHERE, NULL, 1L, 0L);
	CALL(sendmmsg, NOWHERE, BAD, 1L, 0L);
	for (int bit = 0; bit < 32; bit++)
		CALL(sendto, NOWHERE, "abc", 3L, 1L << bit, NULL, 0L);
	CALL(sendto, NOWHERE, last(data, 50), 50L, 0xffffffffL, &where, 5L);
	CALL(sendto, NOWHERE, NULL, 50L, 0L, BAD, 1L);
	CALL(sendto, NOWHERE, last(data, 3), 50L, 0L, NULL, 1L);
	CALL(sendto, NOWHERE, "", 0L, 0L, NULL, 1L);
}

static void received(void)
{
	int pair[2], length, fd;
	char buffer[64], name[64], controls[128];
	struct iovec parts[] = {{buffer, 3}, {buffer + 8, 20}};
	struct msghdr head, answer;
	struct mmsghdr heads[2];
	struct timespec limit = {0, 0};
	size_t used = control(controls, 0, SOL_SOCKET, SCM_RIGHTS, (int[]){0, 1}, 8);
	struct iovec hello = {"hello", 5};
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
#define RECEIVE(count, room, flags)                                              \
	do {                                                                         \
		head = letter(NULL, 0, &hello, 1, controls, used, 0);                    \
		CALL(sendmsg, (long)pair[0], &head, 0L);                                 \
		answer = letter(name, sizeof(name), parts, count, controls + 64, room, 0); \
		CALL(recvmsg, (long)pair[1], &answer, (long)(flags));                    \
	} while (0)
	RECEIVE(2, 0, 0);
	RECEIVE(2, 64, MSG_CMSG_CLOEXEC);
	RECEIVE(1, 20, MSG_DONTWAIT);
	RECEIVE(0, 64, 0);
	answer = letter(name, sizeof(name), parts, 2, NULL, 0, 0);
	CALL(recvmsg, (long)pair[1], &answer, (long)MSG_DONTWAIT);
	CALL(recvmsg, (long)pair[1], NULL, (long)MSG_DONTWAIT);
	CALL(recvmsg, (long)pair[1], BAD, (long)MSG_DONTWAIT);
	for (fd = 0; fd < 4; fd++)
		CALL(sendto, (long)pair[0], "hello", 5L, 0L, NULL, 0L);
	CALL(recvfrom, (long)pair[1], buffer, 3L, (long)MSG_TRUNC, NULL, NULL);
	length = sizeof(name);
	CALL(recvfrom, (long)pair[1], buffer, 20L, 0L, name, &length);
	heads[0] = (struct mmsghdr){letter(name, sizeof(name), parts, 2, NULL, 0, 0), 0};
	heads[1] = (struct mmsghdr){letter(NULL, 0, parts, 1, NULL, 0, 0), 0};
	CALL(recvmmsg, (long)pair[1], heads, 2L, (long)MSG_DONTWAIT, NULL);
	CALL(recvmmsg, (long)pair[1], heads, 2L, (long)MSG_DONTWAIT, NULL);
	CALL(recvmmsg, (long)pair[1], heads, 0L, (long)MSG_DONTWAIT, &limit);
	CALL(recvmmsg, (long)pair[1], heads, 1L, (long)MSG_DONTWAIT, BAD);
	CALL(recvmmsg, (long)pair[1], NULL, 1L, 0L, NULL);
	heads[0].msg_len = heads[1].msg_len = 0;
	heads[0].msg_hdr = heads[1].msg_hdr = letter(NULL, 0, &hello, 1, NULL, 0, 0);
	CALL(sendmmsg, (long)pair[0], heads, 2L, 0L);
	CALL(recvfrom, (long)pair[1], NULL, 20L, (long)MSG_DONTWAIT, NULL, BAD);
	CALL(recvfrom, NOWHERE, buffer, 20L, 0L, name, &length);
	close(pair[0]), close(pair[1]);
	for (fd = 3; fd < 32; fd++)
		close(fd);
}

static void datagrams(void)
{
	struct sockaddr_in here = inet4("127.213.7.4", 51515), there = inet4("127.213.7.5", 51516);
	int on = 1, length, to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0);
	char buffer[16], controls[256], name[64];
	struct iovec part = {buffer, sizeof(buffer)};
	struct msghdr head;
	bind(to, (struct sockaddr *)&here, sizeof(here));
	bind(from, (struct sockaddr *)&there, sizeof(there));
	setsockopt(to, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	setsockopt(to, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	setsockopt(to, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	for (int room = 0; room < 33; room += 4) {
		CALL(sendto, (long)from, "hi", 2L, 0L, &here, (long)sizeof(here));
		length = room;
		CALL(recvfrom, (long)to, buffer, 4L, 0L, name, &length);
	}
	for (int room = 0; room < 257; room += 32) {
		CALL(sendto, (long)from, "hi", 2L, 0L, &here, (long)sizeof(here));
		head = letter(name, room, &part, 1, controls, room, 0);
		CALL(recvmsg, (long)to, &head, 0L);
	}
	close(to), close(from);
}

#define PORT 0x70000001

/*
 * A message to the socket itself: as root the kernel would do as it says, and routes and addresses are the machine's.
 * What comes back is then the same in every run, too.
 */
static void tell(int fd, int type, int flags, const void *body, size_t size, long said)
{
	static char request[512], answer[512];
	struct nlmsghdr head = {said, type, flags, 7, 0};
	struct sockaddr_nl self = {AF_NETLINK, 0, PORT, 0}, from;
	struct iovec part = {answer, sizeof(answer)};
	struct msghdr letter = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};
	memcpy(request, &head, sizeof(head));
	memcpy(request + sizeof(head), body, size);
	CALL(sendto, (long)fd, request, (long)(sizeof(head) + size), (long)MSG_DONTWAIT, &self, (long)sizeof(self));
	CALL(recvmsg, (long)fd, &letter, (long)MSG_DONTWAIT);
}

static void netlink(void)
{
	struct sockaddr_nl self = {AF_NETLINK, 0, PORT, 0};
	struct { struct ifinfomsg head; struct rtattr name; char text[8]; struct rtattr mask; int bits; } link = {
		{AF_UNSPEC, 0, 0, 1, IFF_UP, ~0u}, {7, IFLA_IFNAME}, "lo", {8, IFLA_EXT_MASK}, 9};
	struct { struct ifaddrmsg head; struct rtattr local; char address[4]; struct rtattr odd; int value; } address = {
		{AF_INET, 8, 0, RT_SCOPE_HOST, 1}, {8, IFA_LOCAL}, {127, 0, 0, 1}, {8, 99}, 5};
	struct { struct rtmsg head; struct rtattr to; char address[16]; struct rtattr out; int index; } route = {
		{AF_INET6, 128, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0}, {20, RTA_DST}, {[15] = 1},
		{8, RTA_OIF}, 1};
	struct ndmsg neighbour = {.ndm_family = AF_INET, .ndm_ifindex = 1, .ndm_state = 0xc2, .ndm_flags = 8, .ndm_type = RTN_LOCAL};
	struct { int code; struct nlmsghdr head; struct ifinfomsg body; } error = {
		-2, {32, RTM_GETLINK, NLM_F_REQUEST, 3, 0}, {.ifi_family = AF_INET}};
	struct rtgenmsg family = {AF_INET};
	int done = 0, fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), diag = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	bind(fd, (struct sockaddr *)&self, sizeof(self));
	bind(diag, (struct sockaddr *)&self, sizeof(self));
	tell(fd, 999, NLM_F_REQUEST | NLM_F_ACK, &link, sizeof(link), 16 + sizeof(link));
	for (int flags = 0; flags < 0x1000; flags += 0x111)
		for (int type = RTM_NEWLINK; type < RTM_NEWLINK + 4; type++)
			tell(fd, type, flags, &link, sizeof(link), 16 + sizeof(link));
	tell(fd, RTM_NEWADDR, NLM_F_REQUEST, &address, sizeof(address), 16 + sizeof(address));
	tell(fd, RTM_DELADDR, NLM_F_REQUEST, &address, sizeof(address), 16 + sizeof(address) + 100);
	tell(fd, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_EXCL, &route, 4, 20);
	tell(fd, RTM_GETROUTE, NLM_F_REQUEST, &route, sizeof(route), 16 + sizeof(route));
	tell(fd, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &family, sizeof(family), 16 + sizeof(family));
	tell(fd, RTM_GETNEIGH, NLM_F_REQUEST, &neighbour, sizeof(neighbour), 16 + sizeof(neighbour));
	tell(fd, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, &address, sizeof(address), 16 + sizeof(address));
	tell(fd, NLMSG_DONE, NLM_F_MULTI, &done, sizeof(done), 20);
	tell(fd, NLMSG_ERROR, 0, &error, sizeof(error), 16 + sizeof(error));
	tell(fd, NLMSG_ERROR, NLM_F_CAPPED, &error, 20, 36);
	tell(fd, 0, 0, "", 1, 0);
	tell(diag, 20, NLM_F_REQUEST | NLM_F_DUMP, "\377", 1, 17);
	tell(diag, 20, 0, "\1\1\12\0\0\0\0\0\0\0\0\0\0\0\0", 16, 32);
	CALL(sendto, (long)fd, "short", 5L, 0L, &self, (long)sizeof(self));
	CALL(sendto, (long)fd, BAD, 50L, 0L, NULL, 0L);
	close(fd), close(diag);
}

int main(void)
{
	char *pages = mmap(NULL, 65536 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = pages + 65536;
	munmap(edge, 4096);
	sockets();
	addresses();
	options();
	gotten();
	connections();
	messages();
	received();
	datagrams();
	netlink();
	return 0;
}
