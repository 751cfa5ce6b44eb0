/* sendmmsg(2) and recvmmsg(2): what is said of each message, with little room for names and with much. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 8, MOST = 40, FEW = 5, STREAM = 5, PIECE = 300000 };

static socklen_t address(int family, struct sockaddr_storage *at)
{
    memset(at, 0, sizeof *at);
    at->ss_family = family;
    if (family == AF_INET) {
        ((struct sockaddr_in *)at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof(struct sockaddr_in);
    }
    if (family == AF_INET6) {
        ((struct sockaddr_in6 *)at)->sin6_addr = in6addr_loopback;
        return sizeof(struct sockaddr_in6);
    }
    return sizeof(sa_family_t); /* a name of the kernel's choice */
}

static int bound(int family, struct sockaddr_storage *at, socklen_t *length)
{
    int fd = socket(family, SOCK_DGRAM, 0);
    *length = address(family, at);
    if (bind(fd, (void *)at, *length))
        perror("bind");
    *length = sizeof *at;
    getsockname(fd, (void *)at, length);
    return fd;
}

static void datagrams(int family, socklen_t room)
{
    struct sockaddr_storage to, from;
    socklen_t to_length, from_length;
    int receiver = bound(family, &to, &to_length), sender = bound(family, &from, &from_length);
    struct mmsghdr out[MANY] = { 0 }, in[MOST] = { 0 };
    struct iovec out_data[MANY], in_data[MOST];
    char text[MANY][16], got[MOST][16];
    static char names[MOST][128];

    for (int i = 0; i < MANY; i++) {
        out_data[i] = (struct iovec){ text[i], snprintf(text[i], 16, "message %d", i) };
        out[i].msg_hdr = (struct msghdr){ &to, to_length, &out_data[i], 1 };
    }
    for (int i = 0; i < MOST; i++) {
        in_data[i] = (struct iovec){ got[i], i == 3 ? 4 : 16 };
        in[i].msg_hdr = (struct msghdr){ names[i], room, &in_data[i], 1 };
    }
    printf("family %d, room %d: sent %d", family, room, sendmmsg(sender, out, MANY, 0));
    printf(", received %d", recvmmsg(receiver, in, FEW, 0, NULL));
    printf(" and %d\n", recvmmsg(receiver, in + FEW, MOST - FEW, MSG_WAITFORONE, NULL));
    for (int i = 0; i < MANY; i++) {
        struct msghdr *header = &in[i].msg_hdr;
        int known = !memcmp(names[i], &from, room < from_length ? room : from_length);
        printf("%u of %u '%.*s' flags %x", in[i].msg_len, out[i].msg_len, (int)in[i].msg_len, got[i], header->msg_flags);
        printf(" from whom it was: %d, length %d\n", known, (int)header->msg_namelen - (int)from_length);
    }
    struct timespec time = { 0, 1000 };
    int none = recvmmsg(receiver, in, MOST, MSG_DONTWAIT, &time);
    printf("none there: %d %s", none, strerrorname_np(errno));
    printf(", none wanted: %d", recvmmsg(receiver, in, 0, 0, NULL));
    time.tv_nsec = -1;
    none = recvmmsg(receiver, in, 1, 0, &time);
    printf(", no such time: %d %s\n", none, strerrorname_np(errno));
    close(receiver);
    close(sender);
}

/* Each message is more than the socket holds. */
static void waiting(void)
{
    static char data[PIECE];
    struct iovec piece = { data, sizeof data };
    struct mmsghdr out[STREAM] = { 0 };
    int ends[2];

    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    fflush(stdout);
    if (!fork()) {
        long all = 0, count;
        close(ends[0]);
        while ((count = read(ends[1], data, sizeof data)) > 0)
            all += count;
        printf("got %ld\n", all);
        fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    for (int i = 0; i < STREAM; i++)
        out[i].msg_hdr = (struct msghdr){ .msg_iov = &piece, .msg_iovlen = 1 };
    int sent = sendmmsg(ends[0], out, STREAM, 0);
    close(ends[0]);
    wait(NULL);
    printf("sent %d:", sent);
    for (int i = 0; i < STREAM; i++)
        printf(" %u", out[i].msg_len);
    printf("\n");
}

int main(void)
{
    static const socklen_t rooms[] = { 4, 28, 128 };
    static const int families[] = { AF_INET, AF_INET6, AF_UNIX };

    for (int room = 0; room < 3; room++)
        for (int family = 0; family < 3; family++)
            datagrams(families[family], rooms[room]);
    waiting();
    return 0;
}
