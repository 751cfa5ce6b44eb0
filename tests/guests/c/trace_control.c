/*
 * ioctl, fcntl, prctl and arch_prctl in many shapes, for the comparison of traces with strace's.
 *
 * What succeeds is asked of this process, of a pseudoterminal and of files in a directory of its own; requests that would
 * change a device or an interface go to descriptor -1, where they only read as they would.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/loop.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BAD ((void *)0x10)
#define CALL(name, ...) syscall(SYS_##name __VA_OPT__(,) __VA_ARGS__)
#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define NOWHERE (-1L)
#define FIXED ((void *)0x700000000) /* some requests take the address for a number, and two runs shall say the same */
#define FILE_NAME "trace_control.f"

static char *edge; /* the end of the last page that can be read */

static void *last(const void *data, size_t size)
{
	return memcpy(edge - size, data, size);
}

static void *zeros(size_t size)
{
	return memset(edge - size, 0, size);
}

static void requests(void)
{
	static const unsigned codes[] = {
		0, 1, 0x1234, 0x5499, 0x80045401, 0xc0045499, 0x12345678, 0xffffffff, 0x20005401, 0x40000000, 0x80004506, 0x81004506,
		0x80404506, 0x80104520, 0x80104521, 0x80104515, 0x8010453f, 0x80184540, 0xc0184580, 0x4018457f, 0x80106a13, 0x80104804,
		0x81204802, 0xc0204806, 0x8040552c, 0x80305503, 0x89f0, 0x89f1, 0x89e0, 0x89e5, 0x8b00, 0x8b1a, 0x80044dfe, 0x40044d80,
		0xae01, 0xae80, 0x8090ae81, 0xc018aa3f, 0x8010aa01, 0x40049409, 0x541c, 0x541e, 0x4b3a, 0x5600, 0x125f, 0x2201,
		0x5331, 0x0301, 0x7001, 0xc0045877, 0x5201, 0x40045201, 0x800454cf, 0x400454ca, 0x40044590, 0x2400, 0x40082406, 0x8008b705,
		0xc0502100, 0x8004500b, 0xc0045002, 0x4004b30d, 0x894b, 0x8946};
	for (size_t at = 0; at < COUNT(codes); at++) {
		CALL(ioctl, NOWHERE, (long)codes[at], 0x7777L);
		CALL(ioctl, NOWHERE, (long)codes[at] | 1L << 40, BAD);
	}
}

static void terminals(void)
{
	static const int plain[] = {TCSBRK, TCXONC, TCFLSH, TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCSPGRP, TIOCSTI, TIOCMBIS, TIOCMBIC,
		TIOCMSET, TIOCMGET, TIOCGSOFTCAR, TIOCSSOFTCAR, TIOCCONS, TIOCPKT, FIONBIO, TIOCNOTTY, TIOCSETD, TIOCGETD, TCSBRKP,
		TIOCSBRK, TIOCCBRK, TIOCGSID, FIONCLEX, FIOCLEX, FIOASYNC, FIONREAD, TIOCOUTQ, FIOQSIZE, TIOCVHANGUP};
	unsigned settings[11] = {0};
	struct winsize size = {24, 80, 1, 2};
	int one = 1, master = open("/dev/ptmx", O_RDWR | O_NOCTTY), terminal, length = 0;
	CALL(ioctl, (long)master, (long)TIOCSPTLCK, &length);
	CALL(ioctl, (long)master, (long)TIOCGPTLCK, &length);
	CALL(ioctl, (long)master, (long)TIOCGPKT, &length);
	terminal = CALL(ioctl, (long)master, (long)TIOCGPTPEER, (long)(O_RDWR | O_NOCTTY));
	CALL(ioctl, (long)terminal, 0x5401L, settings);
	for (long request = 0x5402; request < 0x5405; request++)
		CALL(ioctl, (long)terminal, request, settings);
	CALL(ioctl, (long)terminal, 0x5405L, zeros(18));
	CALL(ioctl, (long)terminal, 0x802c542aL, settings);
	CALL(ioctl, (long)terminal, 0x402c542bL, settings);
	CALL(ioctl, (long)terminal, 0x5401L, BAD);
	CALL(ioctl, (long)terminal, 0x5402L, NULL);
	CALL(ioctl, (long)terminal, (long)TIOCGWINSZ, zeros(8));
	CALL(ioctl, (long)terminal, (long)TIOCSWINSZ, &size);
	CALL(ioctl, (long)terminal, (long)TIOCGWINSZ, zeros(8));
	CALL(ioctl, NOWHERE, (long)TIOCGWINSZ, zeros(8));
	CALL(ioctl, (long)terminal, (long)FIONREAD, &length);
	CALL(ioctl, (long)terminal, (long)TIOCOUTQ, &length);
	CALL(ioctl, (long)terminal, (long)TIOCGETD, &length);
	CALL(ioctl, (long)terminal, (long)FIONBIO, &one);
	for (size_t at = 0; at < COUNT(plain); at++) {
		CALL(ioctl, NOWHERE, (long)plain[at], 1L);
		CALL(ioctl, NOWHERE, (long)plain[at], 0L);
		CALL(ioctl, NOWHERE, (long)plain[at], last("\1\0\0\0\0\0\0\0", 8));
	}
	for (int bit = 0; bit < 32; bit++)
		for (int which = 0; which < 4; which++) {
			memset(settings, 0, sizeof(settings));
			settings[which] = 1u << bit;
			CALL(ioctl, NOWHERE, 0x5402L, last(settings, 36));
		}
	for (unsigned speed = 0; speed < 16; speed++) {
		settings[2] = speed | speed << 20 | 0x30;
		CALL(ioctl, NOWHERE, 0x5402L, last(settings, 36));
		settings[2] = speed | 0x1000 | speed << 16;
		CALL(ioctl, NOWHERE, 0x5406L, last(settings, 18));
		CALL(ioctl, NOWHERE, 0x402c542cL, last(settings, 44));
	}
	close(terminal), close(master);
}

static void interfaces(void)
{
	static const int gets[] = {SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFNETMASK, SIOCGIFMETRIC, SIOCGIFMTU, SIOCGIFHWADDR,
		SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMAP, SIOCGIFSLAVE, SIOCGIFCOUNT};
	static const int sets[] = {SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFDSTADDR, SIOCSIFBRDADDR, SIOCSIFNETMASK, SIOCSIFMETRIC, SIOCSIFMTU,
		SIOCSIFHWADDR, SIOCSIFNAME, SIOCSIFTXQLEN, SIOCSIFMAP, SIOCADDMULTI, SIOCDELMULTI, SIOCSIFSLAVE, SIOCADDRT, SIOCETHTOOL};
	struct ifreq request = {.ifr_name = "lo"};
	struct ifconf all = {.ifc_len = 400, .ifc_buf = zeros(400)};
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	for (size_t at = 0; at < COUNT(gets); at++) {
		strcpy(request.ifr_name, "lo");
		CALL(ioctl, (long)udp, (long)gets[at], &request);
		strcpy(request.ifr_name, "no such one");
		CALL(ioctl, (long)udp, (long)gets[at], &request);
		CALL(ioctl, (long)udp, (long)gets[at], BAD);
		CALL(ioctl, NOWHERE, (long)gets[at], NULL);
	}
	memset(&request.ifr_ifru, 0, sizeof(request.ifr_ifru));
	request.ifr_addr.sa_family = AF_INET;
	memcpy(request.ifr_addr.sa_data, "\0\0\177\0\0\1", 6);
	for (size_t at = 0; at < COUNT(sets); at++) {
		CALL(ioctl, NOWHERE, (long)sets[at], last(&request, sizeof(request)));
		CALL(ioctl, NOWHERE, (long)sets[at], BAD);
	}
	memset(request.ifr_name, 'a', sizeof(request.ifr_name));
	request.ifr_flags = -1;
	CALL(ioctl, NOWHERE, (long)SIOCSIFFLAGS, &request);
	request.ifr_ifindex = 1;
	CALL(ioctl, (long)udp, (long)SIOCGIFNAME, &request);
	request.ifr_ifindex = 0;
	CALL(ioctl, (long)udp, (long)SIOCGIFNAME, &request);
	CALL(ioctl, (long)udp, (long)SIOCGIFCONF, &all);
	all.ifc_len = 45;
	CALL(ioctl, (long)udp, (long)SIOCGIFCONF, &all);
	all = (struct ifconf){.ifc_len = 0};
	CALL(ioctl, (long)udp, (long)SIOCGIFCONF, &all);
	all = (struct ifconf){.ifc_len = 40, .ifc_buf = BAD};
	CALL(ioctl, NOWHERE, (long)SIOCGIFCONF, &all);
	CALL(ioctl, NOWHERE, 0x89a0L, "br9");
	CALL(ioctl, NOWHERE, 0x89a2L, &request);
	close(udp);
}

static void files(void)
{
	static const unsigned blocks[] = {BLKROSET, BLKROGET, BLKRRPART, BLKGETSIZE, BLKFLSBUF, BLKRASET, BLKRAGET, BLKFRASET, BLKFRAGET,
		BLKSECTSET, BLKSECTGET, BLKSSZGET, BLKBSZGET, BLKBSZSET, BLKGETSIZE64, BLKDISCARD, BLKIOMIN, BLKIOOPT, BLKALIGNOFF,
		BLKPBSZGET, BLKDISCARDZEROES, BLKSECDISCARD, BLKROTATIONAL, BLKZEROOUT, LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_CAPACITY,
		LOOP_CTL_ADD, LOOP_CTL_REMOVE, LOOP_CTL_GET_FREE, FIFREEZE, FITHAW, FITRIM, FIGETBSZ, FIBMAP, FS_IOC_GETVERSION};
	static const unsigned long range[] = {5, 6, 7};
	struct { struct fiemap head; struct fiemap_extent extents[2]; } map = {{.fm_length = ~0ull, .fm_extent_count = 2}, {{0}}};
	struct file_clone_range clone = {.src_fd = -1, .src_length = 4096, .dest_offset = 8192};
	struct { struct file_dedupe_range head; struct file_dedupe_range_info info[2]; } same = {
		{.src_length = 4096, .dest_count = 2}, {{.dest_fd = 3}, {.dest_fd = -1, .dest_offset = 5}}};
	struct fsxattr attributes = {FS_XFLAG_NODUMP | FS_XFLAG_HASATTR, 1, 2, 3, 4, {0}};
	struct loop_info64 loop = {.lo_offset = 4, .lo_number = 6, .lo_encrypt_type = 18, .lo_encrypt_key_size = 5, .lo_flags = 0x1d,
		.lo_file_name = "file", .lo_crypt_name = "crypt", .lo_encrypt_key = "keyke"};
	long fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int bits;
	for (size_t at = 0; at < COUNT(blocks); at++) {
		CALL(ioctl, NOWHERE, (long)blocks[at], last(range, sizeof(range)));
		CALL(ioctl, NOWHERE, (long)blocks[at], 5L);
	}
	for (int bit = 0; bit < 32; bit++) {
		bits = 1 << bit;
		CALL(ioctl, NOWHERE, (long)FS_IOC_SETFLAGS, &bits);
	}
	CALL(ioctl, fd, (long)FS_IOC_FIEMAP, &map);
	CALL(ioctl, NOWHERE, (long)FS_IOC_FIEMAP, &map);
	CALL(ioctl, NOWHERE, (long)FS_IOC_FIEMAP, BAD);
	CALL(ioctl, NOWHERE, (long)FICLONE, 3L);
	CALL(ioctl, NOWHERE, (long)FICLONERANGE, &clone);
	CALL(ioctl, NOWHERE, (long)FIDEDUPERANGE, &same);
	CALL(ioctl, NOWHERE, (long)FS_IOC_FSSETXATTR, last(&attributes, sizeof(attributes)));
	CALL(ioctl, NOWHERE, (long)FS_IOC_FSSETXATTR, BAD);
	CALL(ioctl, NOWHERE, (long)LOOP_SET_STATUS64, last(&loop, sizeof(loop)));
	CALL(ioctl, NOWHERE, 0x41009432L, "a label");
	CALL(ioctl, NOWHERE, 0x40085203L, last("\7\0\0\0\4\0\0\0abcd", 12));
	close(fd), unlink(FILE_NAME);
}

static void locks(void)
{
	static const struct { short type, whence; long start, length; int pid; } shapes[] = {
		{F_RDLCK, SEEK_SET, 0, 0, 0}, {F_WRLCK, SEEK_CUR, 10, 5, 0}, {F_UNLCK, SEEK_END, -1, -2, 7}, {3, 3, 1L << 40, 1L << 62, 0},
		{32, 9, 0, 0, 0}, {-1, -1, 0, 0, 0}};
	static const int commands[] = {F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW};
	for (size_t command = 0; command < COUNT(commands); command++) {
		/* opened anew, for a lock of the last round would be waited for, by the one who has it */
		long fd = open(FILE_NAME, O_RDWR | O_CREAT, 0600);
		for (size_t at = 0; at < COUNT(shapes); at++) {
			struct flock lock = {shapes[at].type, shapes[at].whence, shapes[at].start, shapes[at].length, shapes[at].pid};
			CALL(fcntl, NOWHERE, (long)commands[command], last(&lock, sizeof(lock)));
			if (at < 3)
				CALL(fcntl, fd, (long)commands[command], last(&lock, sizeof(lock)));
		}
		CALL(fcntl, fd, (long)commands[command], NULL);
		CALL(fcntl, fd, (long)commands[command], BAD);
		close(fd);
	}
	unlink(FILE_NAME);
}

static void commands(void)
{
	static const int shown[] = {O_RDONLY, O_RDWR | O_APPEND | O_NONBLOCK, O_WRONLY | O_CLOEXEC | O_SYNC, O_PATH};
	static const long flags[] = {0, 1, 2, 3, O_APPEND, O_NONBLOCK, O_SYNC, O_DSYNC, O_DIRECT, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC,
		O_PATH, O_TMPFILE, O_ASYNC, O_NOATIME, 1 << 24, 0xffffffff};
	int owner[2], pipes[2];
	long fd = open(FILE_NAME, O_RDWR | O_CREAT, 0600), other, memory = memfd_create("seals", MFD_ALLOW_SEALING);
	for (long command = 0; command < 40; command++)
		CALL(fcntl, NOWHERE, command, 1L);
	for (long command = 1020; command < 1035; command++)
		CALL(fcntl, NOWHERE, command, 1L);
	CALL(fcntl, NOWHERE, 99L, 0L);
	for (size_t at = 0; at < COUNT(flags); at++) {
		CALL(fcntl, NOWHERE, (long)F_SETFL, flags[at]);
		CALL(fcntl, NOWHERE, (long)F_SETFD, flags[at]);
		CALL(fcntl, NOWHERE, (long)F_ADD_SEALS, flags[at]);
		CALL(fcntl, NOWHERE, (long)F_NOTIFY, flags[at]);
		CALL(fcntl, NOWHERE, (long)F_SETLEASE, flags[at]);
		CALL(fcntl, NOWHERE, (long)F_SETSIG, flags[at]);
	}
	for (size_t at = 0; at < COUNT(shown); at++) {
		other = open(FILE_NAME, shown[at]);
		CALL(fcntl, other, (long)F_GETFL);
		CALL(fcntl, other, (long)F_GETFD, 0L);
		CALL(fcntl, other, (long)F_SETFD, (long)FD_CLOEXEC);
		CALL(fcntl, other, (long)F_GETFD, 0L);
		close(CALL(fcntl, other, (long)F_DUPFD, 100L));
		close(CALL(fcntl, other, (long)F_DUPFD_CLOEXEC, 100L));
		CALL(fcntl, other, (long)F_DUPFD, NOWHERE);
		close(other);
	}
	CALL(fcntl, fd, (long)F_SETOWN, (long)getpid());
	CALL(fcntl, fd, (long)F_GETOWN, 0L);
	for (int kind = 0; kind < 4; kind++) {
		owner[0] = kind, owner[1] = getpid();
		CALL(fcntl, fd, 15L, owner);
		CALL(fcntl, fd, 16L, owner);
	}
	CALL(fcntl, fd, 15L, BAD);
	CALL(fcntl, fd, 16L, NULL);
	CALL(fcntl, fd, (long)F_SETSIG, (long)SIGURG);
	CALL(fcntl, fd, (long)F_GETSIG, 0L);
	CALL(fcntl, fd, (long)F_SETSIG, 34L);
	CALL(fcntl, fd, (long)F_GETSIG, 0L);
	CALL(fcntl, fd, (long)F_GETLEASE, 0L);
	CALL(fcntl, memory, (long)F_GET_SEALS, 0L);
	CALL(fcntl, memory, (long)F_ADD_SEALS, (long)(F_SEAL_GROW | F_SEAL_SHRINK));
	CALL(fcntl, memory, (long)F_GET_SEALS, 0L);
	if (!pipe(pipes)) {
		CALL(fcntl, (long)pipes[0], (long)F_GETPIPE_SZ, 0L);
		CALL(fcntl, (long)pipes[0], (long)F_SETPIPE_SZ, 65536L);
		close(pipes[0]), close(pipes[1]);
	}
	close(memory), close(fd), unlink(FILE_NAME);
}

static void options(void)
{
	static const long shown[] = {2, 3, 4, 5, 6, 7, 8, 11, 13, 14, 16, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 33, 34, 35, 36, 37, 38,
		39, 40, 41, 42, 43, 45, 46, 47, 50, 51, 52, 53, 57, 58, 59, 62, 0, 17, 9999, -1};
	static const struct sock_filter code = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = {0, (struct sock_filter *)&code};
	for (size_t at = 0; at < COUNT(shown); at++)
		if (shown[at] != 26 && shown[at] != 24)
			CALL(prctl, shown[at], BAD, 0x11L, 0x12L, 0x13L);
	CALL(prctl, 1L, (long)SIGKILL), CALL(prctl, 2L, zeros(4)), CALL(prctl, 1L, 0L), CALL(prctl, 1L, 99L);
	for (long value = 0; value < 6; value++) {
		CALL(prctl, 4L, value + 1); /* never 0: a tracer without rights could not read on */
		CALL(prctl, 33L, value, value, 0L, 1L);
		CALL(prctl, 45L, value);
		CALL(prctl, 47L, value, value, 0L, 1L);
		CALL(prctl, 53L, 3L, 1L << value);
		CALL(prctl, 53L, 3L, value);
		CALL(prctl, 52L, 3L + value);
	}
	CALL(prctl, 4L, 1L), CALL(prctl, 3L);
	CALL(prctl, 15L, last("a name", 7)), CALL(prctl, 16L, zeros(16));
	CALL(prctl, 15L, last("a name that is far too long", 28)), CALL(prctl, 16L, zeros(16));
	CALL(prctl, 15L, last("abc", 3));
	for (long capability = 0; capability < 44; capability++)
		CALL(prctl, 23L, capability);
	CALL(prctl, 25L, zeros(4)), CALL(prctl, 26L, 1L), CALL(prctl, 26L, 7L);
	CALL(prctl, 27L), CALL(prctl, 28L, 0x1ff00L), CALL(prctl, 28L, 0xffL << 9);
	CALL(prctl, 29L, 50000L), CALL(prctl, 30L);
	for (long field = 0; field < 16; field++)
		CALL(prctl, 35L, field + 100 * (field > 12), 0L, 0L, 1L);
	CALL(prctl, 36L, 0L), CALL(prctl, 37L, zeros(4)), CALL(prctl, 40L, BAD);
	CALL(prctl, 38L, 1L, 0L, 0L, 0L), CALL(prctl, 39L, 0L, 0L, 0L, 0L);
	CALL(prctl, 22L, 2L, NULL), CALL(prctl, 22L, 2L, BAD), CALL(prctl, 22L, 2L, &filter), CALL(prctl, 22L, 9L, 1L, 2L, 3L);
	CALL(prctl, 21L);
	CALL(prctl, 62L, 9L, 0L, 0L, 0L), CALL(prctl, 62L, 1L, 0L, 5L, 0x10L);
	CALL(prctl, 0x59616d61L, 0L), CALL(prctl, 0x59616d61L, -1L);
	CALL(prctl, 0x53564d41L, 0L, 0x10000L, 4096L, "a name"), CALL(prctl, 0x53564d41L, 0L, 0x10001L, 4096L, NULL);
	CALL(prctl, 0x53564d41L, 1L, 0x10000L, 4096L, 0L);
	CALL(arch_prctl, 0x1003L, zeros(8)), CALL(arch_prctl, 0x1003L, BAD), CALL(arch_prctl, 0x1004L, zeros(8));
	CALL(arch_prctl, 0x1011L, 0L), CALL(arch_prctl, 0x1021L, zeros(8)), CALL(arch_prctl, 0x1022L, BAD);
	CALL(arch_prctl, 0x1023L, 99L), CALL(arch_prctl, 0x1025L, 2L), CALL(arch_prctl, 0x2001L, BAD), CALL(arch_prctl, 99L, BAD);
}

int main(void)
{
	char *pages = mmap(FIXED, 65536 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	edge = pages + 65536;
	munmap(edge, 4096);
	signal(SIGIO, SIG_IGN);
	requests();
	terminals();
	interfaces();
	files();
	locks();
	commands();
	options();
	return 0;
}
