/*
 * Every call about files, directories and descriptors, in many shapes, for the comparison of traces with strace's.
 *
 * It works in a directory of its own below the current one and leaves nothing behind.  What would change the machine
 * (mounts, swap, quota, accounting) is only ever asked for in ways that fail.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif
#ifndef SYS_listmount
#define SYS_listmount 458
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif
#ifndef SYS_getxattrat
#define SYS_getxattrat 464
#endif
#ifndef SYS_listxattrat
#define SYS_listxattrat 465
#endif
#ifndef SYS_removexattrat
#define SYS_removexattrat 466
#endif
#ifndef SYS_file_getattr
#define SYS_file_getattr 468
#endif
#ifndef SYS_file_setattr
#define SYS_file_setattr 469
#endif

#define DIRECTORY "trace_files.d"
#define BAD ((void *)0x10)
#define CALL(name, ...) syscall(SYS_##name __VA_OPT__(,) __VA_ARGS__)
#define ALL (-1L)
#define CWD ((long)AT_FDCWD)

static char room[65536];
static char *edge; /* the end of the last page that can be read */

/* A copy of some bytes that ends where memory ends. */
static void *last(const void *data, size_t size)
{
	return memcpy(edge - size, data, size);
}

static void opening(void)
{
	static const long flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, 3, 3 | O_CLOEXEC, O_RDONLY | O_DIRECTORY, O_RDONLY | O_PATH, O_RDWR | O_SYNC,
		O_RDWR | O_DSYNC, 04000000 | O_RDONLY, O_WRONLY | O_APPEND | O_NONBLOCK, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NOCTTY,
		O_RDWR | O_DIRECT | O_ASYNC, O_RDONLY | O_LARGEFILE, O_RDONLY | 0x800000, O_RDONLY | 0x40000000, O_TRUNC,
		O_EXCL, 020000000, O_ACCMODE | 0x7fffff00,
	};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		CALL(close, CALL(open, "nothing", flags[i], 0644));
	CALL(open, "nothing", ALL, 0644);
	CALL(open, NULL, O_RDONLY);
	CALL(open, BAD, O_RDONLY);
	CALL(open, edge - 1, O_CREAT, 0);
	CALL(open, "", O_RDONLY | O_CREAT | O_EXCL, 0);
	CALL(open, "nothing/at/all", O_WRONLY | O_CREAT | O_TRUNC, 07777);
	CALL(open, "nothing/at/all", O_WRONLY | O_CREAT, 0xffffffff);
	CALL(open, "nothing/at/all", O_WRONLY | O_CREAT, 0100644);
	CALL(open, "nothing/at/all", O_WRONLY | O_CREAT, 1);
	CALL(open, "nothing/at/all", O_RDWR | O_TMPFILE, 0600);
	CALL(open, "nothing/at/all", O_RDWR | 020000000, 0600);
	CALL(open, "odd \t\n\r\v\f\"\\\001\0012\377\177\3338 name", O_RDONLY);
	memset(room, 'p', sizeof room);
	room[60] = 0;
	CALL(open, room, O_RDONLY);
	room[60] = 'p';
	room[4094] = 0;
	CALL(open, room, O_RDONLY);
	room[4094] = 'p';
	room[4095] = 0;
	CALL(open, room, O_RDONLY);
	room[4095] = 'p';
	CALL(open, room, O_RDONLY);
	CALL(open, last("unended", 7), O_RDONLY);
	CALL(open, last("ended", 6), O_RDONLY);
	CALL(close, CALL(openat, CWD, "/dev/null", O_RDWR | O_CLOEXEC));
	CALL(close, CALL(openat, CWD, ".", O_RDWR | O_TMPFILE, 0600));
	CALL(openat, CWD, "nothing", O_RDONLY | O_CREAT | O_DIRECTORY | O_NOFOLLOW, 0600);
	CALL(openat, 99L, "nothing", O_RDONLY);
	CALL(openat, -1L, "nothing", O_RDONLY);
	CALL(openat, -101L, BAD, O_WRONLY | O_CREAT, 0600);
	CALL(openat, 0x7fffffff00000003L, "nothing", O_RDONLY);
	CALL(close, CALL(creat, "made", 0640));
	CALL(creat, "nothing/here", 0);
	CALL(creat, BAD, 012);
	CALL(unlink, "made");

	struct { unsigned long flags, mode, resolve, more[4]; } how = { O_RDONLY | O_CLOEXEC, 0, 0, { 0 } };
	CALL(close, CALL(openat2, CWD, "/dev/null", &how, 24L));
	how.resolve = 1 | 2 | 4 | 8 | 16 | 32;
	CALL(openat2, CWD, "nothing", &how, 24L);
	how.resolve = 0x40;
	CALL(openat2, CWD, "nothing", &how, 24L);
	how.resolve = ALL;
	CALL(openat2, CWD, "nothing", &how, 24L);
	how.resolve = 8;
	how.flags = O_CREAT | O_WRONLY;
	how.mode = 0644;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	how.mode = 0;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	how.mode = 0xffffffffffffL;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	how.flags = O_RDONLY;
	how.mode = 0644;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	how.flags = 0x8000000000000000 | O_WRONLY;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	how.flags = ALL;
	CALL(openat2, CWD, "nothing/here", &how, 24L);
	CALL(openat2, CWD, "nothing", &how, 23L);
	CALL(openat2, CWD, "nothing", &how, 0L);
	CALL(openat2, CWD, "nothing", &how, 32L);
	how.more[0] = 7;
	CALL(openat2, CWD, "nothing", &how, 32L);
	CALL(openat2, CWD, "nothing", &how, 25L);
	memset(room, 0, 8192);
	memcpy(room, &how, sizeof how);
	CALL(openat2, CWD, "nothing", room, 8192L);
	CALL(openat2, CWD, "nothing", edge - 24, 32L);
	CALL(openat2, CWD, "nothing", edge - 8, 24L);
	CALL(openat2, CWD, "nothing", NULL, 24L);
	CALL(openat2, CWD, "nothing", BAD, 24L);
	CALL(openat2, 99L, BAD, BAD, ALL);
}

static void descriptors(void)
{
	int pair[2];
	CALL(close, -1L);
	CALL(close, 0x100000000L | 99);
	CALL(close_range, 1000U, ~0U, 0U);
	CALL(close_range, 1000U, 2000U, 2U);
	CALL(close_range, 1000U, 2000U, 4U);
	CALL(close_range, 10U, 9U, 8U);
	CALL(close_range, 10U, 9U, 14U);
	CALL(close_range, 10U, 9U, ~0U);
	CALL(dup2, 1L, 50L);
	CALL(close, 50L);
	CALL(close, CALL(dup, 1L));
	CALL(dup, -1L);
	CALL(dup2, 1L, 1L);
	CALL(dup2, 99L, 5L);
	CALL(dup3, 1L, 50L, O_CLOEXEC);
	CALL(close, 50L);
	CALL(dup3, 1L, 1L, 0L);
	CALL(dup3, 1L, 50L, O_NONBLOCK);
	CALL(dup3, 1L, 50L, O_RDWR);
	CALL(dup3, 1L, 50L, ALL);
	CALL(pipe, pair);
	CALL(close, (long)pair[0]);
	CALL(close, (long)pair[1]);
	CALL(pipe, BAD);
	CALL(pipe, NULL);
	CALL(pipe2, pair, O_CLOEXEC | O_NONBLOCK);
	CALL(close, (long)pair[0]);
	CALL(close, (long)pair[1]);
	CALL(pipe2, pair, O_DIRECT);
	CALL(close, (long)pair[0]);
	CALL(close, (long)pair[1]);
	CALL(pipe2, pair, 0L);
	CALL(close, (long)pair[0]);
	CALL(close, (long)pair[1]);
	CALL(pipe2, pair, ALL);
	CALL(pipe2, NULL, O_RDWR | O_SYNC);
}

static void transfers(void)
{
	long fd = CALL(openat, CWD, "data", O_RDWR | O_CREAT | O_TRUNC, 0600);
	CALL(write, fd, "short", 5L);
	CALL(write, fd, "", 0L);
	CALL(write, fd, "0123456789abcdef0123456789abcdef", 32L);
	CALL(write, fd, "0123456789abcdef0123456789abcdef!", 33L);
	CALL(write, fd, "\0\1\2\3""4\a\b\t\n\v\f\r\"\\\177\200\3770\0\0\0\0", 24L);
	CALL(write, fd, "\0\1\2\3\4\5\6\7\10\16\17\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37 !\"#$%&", 40L);
	CALL(write, fd, NULL, 0L);
	CALL(write, fd, NULL, 5L);
	CALL(write, fd, BAD, 5L);
	CALL(write, fd, BAD, 0L);
	CALL(write, fd, last("edge", 4), 4L);
	CALL(write, fd, edge - 4, 40L);
	CALL(write, fd, last(room + 100, 60), 60L);
	CALL(write, fd, edge - 60, 100L);
	CALL(write, -1L, "x", 1L);
	CALL(write, 99L, "text", ALL);
	CALL(lseek, fd, 0L, SEEK_SET);
	CALL(read, fd, room, 5L);
	CALL(read, fd, room, 32L);
	CALL(read, fd, room, 33L);
	CALL(read, fd, room, 1000L);
	CALL(read, fd, room, 1000L);
	CALL(read, fd, room, 0L);
	CALL(read, fd, NULL, 0L);
	CALL(read, fd, BAD, 4L);
	CALL(read, 99L, room, 4L);
	CALL(read, fd, room, ALL);
	CALL(pread64, fd, room, 20L, 3L);
	CALL(pread64, fd, room, 20L, 1L << 40);
	CALL(pread64, fd, room, 20L, -1L);
	CALL(pread64, fd, BAD, 20L, 0L);
	CALL(pwrite64, fd, "written", 7L, 10L);
	CALL(pwrite64, fd, "written", 7L, -5L);
	CALL(pwrite64, 99L, BAD, 7L, 5L);
	CALL(lseek, fd, 0L, SEEK_CUR);
	CALL(lseek, fd, -3L, SEEK_END);
	CALL(lseek, fd, 0L, SEEK_DATA);
	CALL(lseek, fd, 0L, SEEK_HOLE);
	CALL(lseek, fd, 1L << 40, SEEK_SET);
	CALL(lseek, fd, -1L, SEEK_SET);
	CALL(lseek, fd, 0L, 5L);
	CALL(lseek, fd, 0L, ALL);
	CALL(lseek, 99L, 0L, SEEK_SET);

	static const struct iovec many[1100];
	struct iovec parts[40];
	for (int i = 0; i < 40; i++) {
		parts[i].iov_base = "abcdefghijklmnopqrstuvwxyz0123456789" + i % 20;
		parts[i].iov_len = i % 7;
	}
	CALL(lseek, fd, 0L, SEEK_SET);
	CALL(writev, fd, parts, 3L);
	CALL(writev, fd, parts, 31L);
	CALL(writev, fd, parts, 32L);
	CALL(writev, fd, parts, 33L);
	CALL(writev, fd, parts, 40L);
	CALL(writev, fd, parts, 0L);
	CALL(writev, fd, NULL, 0L);
	CALL(writev, fd, NULL, 3L);
	CALL(writev, fd, BAD, 0L);
	CALL(writev, fd, BAD, 2L);
	CALL(writev, fd, parts, ALL);
	CALL(writev, fd, many, 1100L);
	CALL(writev, fd, last(parts + 1, 32), 3L);
	CALL(writev, fd, edge - 24, 3L);
	parts[1].iov_base = BAD;
	CALL(writev, fd, parts, 3L);
	parts[1].iov_base = NULL;
	parts[2].iov_base = "a long part, longer than what is shown by default";
	parts[2].iov_len = 49;
	CALL(writev, fd, parts, 3L);
	parts[2].iov_len = ALL;
	CALL(writev, fd, parts, 3L);
	parts[2].iov_len = 1L << 33;
	CALL(writev, 99L, parts, 3L);
	parts[1].iov_base = room;
	parts[2].iov_base = room + 100;
	parts[2].iov_len = 50;
	parts[3].iov_base = room + 200;
	CALL(lseek, fd, 0L, SEEK_SET);
	CALL(pread64, fd, room, 50L, 0L);
	CALL(readv, fd, parts, 1L);
	CALL(readv, fd, parts + 1, 3L);
	CALL(lseek, fd, -10L, SEEK_END);
	CALL(readv, fd, parts + 1, 3L);
	CALL(readv, fd, parts + 1, 3L);
	CALL(lseek, fd, -10L, SEEK_END);
	parts[3].iov_base = NULL;
	CALL(readv, fd, parts + 1, 3L);
	CALL(readv, fd, parts + 1, 0L);
	CALL(readv, fd, NULL, 2L);
	CALL(readv, fd, BAD, 2L);
	CALL(readv, fd, parts + 1, ALL);
	CALL(readv, 99L, parts + 1, 2L);
	CALL(preadv, fd, parts + 1, 2L, 5L, 0L);
	CALL(preadv, fd, parts + 1, 2L, 5L, 1L);
	CALL(preadv, fd, parts + 1, 2L, -1L, -1L);
	CALL(preadv, fd, parts + 1, 2L, 0x100000007L, 3L);
	parts[1].iov_base = "abc";
	parts[2].iov_base = "def";
	parts[2].iov_len = 3;
	CALL(pwritev, fd, parts + 1, 2L, 5L, 0L);
	CALL(pwritev, fd, parts + 1, 2L, -5L, 0L);
	CALL(pwritev, 99L, parts + 1, 2L, 5L, 9L);
	CALL(pwritev2, fd, parts + 1, 2L, 7L, 0L, 1L | 2 | 4 | 8 | 16);
	CALL(pwritev2, fd, parts + 1, 2L, 7L, 0L, 0x300L);
	CALL(pwritev2, fd, parts + 1, 2L, -1L, -1L, 0L);
	CALL(pwritev2, fd, parts + 1, 2L, 7L, 0L, 0xffffff1fL);
	parts[1].iov_base = room;
	parts[2].iov_base = room + 100;
	CALL(preadv2, fd, parts + 1, 2L, 7L, 0L, 8L);
	CALL(preadv2, fd, parts + 1, 2L, 7L, 0L, 0L);
	CALL(preadv2, fd, parts + 1, 2L, -2L, -1L, 0L);
	CALL(preadv2, 99L, parts + 1, 2L, 7L, 0L, 0xffffff1fL);

	long other = CALL(openat, CWD, "other", O_RDWR | O_CREAT | O_TRUNC, 0600);
	long from = 3, to = 1;
	int ends[2];
	CALL(pipe2, ends, O_NONBLOCK);
	long out_end = ends[1], in_end = ends[0];
	CALL(sendfile, other, fd, NULL, 10L);
	CALL(sendfile, other, fd, &from, 10L);
	CALL(sendfile, other, fd, &from, 0L);
	CALL(sendfile, other, 99L, &from, 10L);
	CALL(sendfile, other, fd, BAD, 10L);
	CALL(copy_file_range, fd, &from, other, &to, 5L, 0L);
	CALL(copy_file_range, fd, NULL, other, NULL, 5L, 0L);
	CALL(copy_file_range, fd, &from, other, BAD, 5L, 3L);
	from = -7;
	CALL(copy_file_range, 99L, &from, 98L, &to, ALL, ALL);
	CALL(sendfile, other, fd, &from, ALL);
	from = 0;
	CALL(splice, fd, &from, out_end, NULL, 8L, 1L | 2 | 4 | 8);
	CALL(splice, in_end, NULL, other, &to, 4L, 0L);
	CALL(splice, in_end, &from, other, NULL, 4L, 16L);
	CALL(splice, in_end, NULL, 99L, BAD, 4L, ALL);
	CALL(tee, in_end, out_end, 5L, 2L);
	CALL(tee, in_end, 99L, ALL, ALL);
	parts[1].iov_base = "given";
	parts[1].iov_len = 5;
	CALL(vmsplice, out_end, parts + 1, 2L, 0L);
	CALL(vmsplice, in_end, parts + 1, 2L, 2L);
	CALL(vmsplice, 99L, BAD, 2L, 8L);
	CALL(vmsplice, out_end, parts + 1, 1L, 16L | 1);
	CALL(read, in_end, room, 100L);
	CALL(read, in_end, room, 100L);
	CALL(close, in_end);
	CALL(close, out_end);

	CALL(fsync, fd);
	CALL(fsync, -1L);
	CALL(fdatasync, fd);
	CALL(fdatasync, 99L);
	CALL(syncfs, -1L);
	CALL(sync_file_range, fd, 0L, 100L, 1L | 2 | 4);
	CALL(sync_file_range, fd, -1L, 100L, 0L);
	CALL(sync_file_range, 99L, 5L, -1L, ALL);
	CALL(fadvise64, fd, 0L, 100L, 0L);
	CALL(fadvise64, fd, 1L << 40, 100L, 1L);
	CALL(fadvise64, fd, 0L, -1L, 2L);
	CALL(fadvise64, fd, 0L, ALL, 3L);
	CALL(fadvise64, fd, -1L, 100L, 4L);
	CALL(fadvise64, fd, 0L, 100L, 5L);
	CALL(fadvise64, 99L, 0L, 100L, 6L);
	CALL(fadvise64, 99L, 0L, 100L, ALL);
	CALL(readahead, fd, 0L, 4096L);
	CALL(readahead, 99L, -1L, ALL);
	CALL(ftruncate, fd, 100L);
	CALL(ftruncate, fd, -1L);
	CALL(ftruncate, 99L, 1L << 40);
	CALL(truncate, "data", 50L);
	CALL(truncate, "nothing", -3L);
	CALL(truncate, BAD, 3L);
	CALL(fallocate, fd, 0L, 0L, 200L);
	CALL(fallocate, fd, 1L, 300L, 20L);
	CALL(fallocate, fd, 3L, 0L, 10L);
	CALL(fallocate, fd, 8L, 5L, 3L);
	CALL(fallocate, fd, 16L, 5L, 3L);
	CALL(fallocate, fd, 32L | 64, 5L, 3L);
	CALL(fallocate, fd, 256L | 512, -5L, -3L);
	CALL(fallocate, 99L, 0xffffff7fL, 1L << 40, 1L << 41);
	for (long i = 0; i < 16; i++)
		CALL(flock, i < 8 ? other : 99L, i | 4);
	CALL(flock, other, 2L);
	CALL(flock, other, 8L);
	CALL(flock, other, 32L | 64);
	CALL(flock, other, 32L | 64 | 128);
	CALL(flock, other, 0xe8L);
	CALL(flock, other, 16L);
	CALL(flock, other, 0L);
	CALL(flock, other, ALL);
	CALL(memfd_create, "a name", 0L);
	CALL(close, CALL(memfd_create, "sealed", 1L | 2));
	CALL(memfd_create, "huge", 4L | 21L << 26 | 32 | 64);
	CALL(memfd_create, "huge", 30L << 26 | 4);
	CALL(memfd_create, "huge", 34L << 26);
	CALL(memfd_create, "huge", 63L << 26 | 7);
	CALL(memfd_create, "huge", 0xffffffe7L);
	CALL(memfd_create, NULL, 0x20L);
	CALL(memfd_create, BAD, 0x20L);
	room[0] = 'a';
	memset(room, 'm', 300);
	room[300] = 0;
	CALL(memfd_create, room, 1L);
	room[249] = 0;
	CALL(memfd_create, room, 0x100L);
	room[248] = 0;
	CALL(memfd_create, room, 0x100L);
	CALL(memfd_create, last("ended", 6), 0x100L);
	CALL(memfd_create, last("unended", 7), 0x100L);
	CALL(memfd_secret, 0x100L);
	CALL(memfd_secret, O_CLOEXEC | 0x100L);
	CALL(memfd_secret, ALL);
	CALL(close, fd);
	CALL(close, other);
}

static void names(void)
{
	char state[512];
	CALL(mkdir, "sub", 0755);
	CALL(mkdir, "sub", 07000);
	CALL(mkdir, NULL, 0xfffff);
	CALL(mkdirat, CWD, "sub/more", 0700);
	CALL(mkdirat, 99L, BAD, 0);
	CALL(symlink, "a target", "link");
	CALL(symlink, NULL, BAD);
	CALL(symlinkat, "a longer target than thirty-two bytes of it", CWD, "sub/link");
	CALL(symlinkat, BAD, 99L, NULL);
	CALL(readlink, "link", state, 100L);
	CALL(readlink, "link", state, 3L);
	CALL(readlink, "sub/link", state, 100L);
	CALL(readlink, "sub", state, 100L);
	CALL(readlink, "link", state, 0L);
	CALL(readlink, "link", BAD, 100L);
	CALL(readlink, NULL, NULL, ALL);
	CALL(readlinkat, CWD, "sub/link", state, 512L);
	CALL(readlinkat, 99L, "sub/link", BAD, ALL);
	CALL(close, CALL(creat, "file", 0600));
	CALL(link, "file", "sub/file");
	CALL(link, NULL, BAD);
	CALL(linkat, CWD, "file", CWD, "sub/file", 0L);
	CALL(linkat, CWD, "file", 99L, "x", (long)AT_SYMLINK_FOLLOW);
	CALL(linkat, 98L, BAD, 99L, NULL, (long)AT_SYMLINK_FOLLOW | AT_EMPTY_PATH);
	CALL(linkat, CWD, "file", CWD, "x", ALL);
	CALL(linkat, CWD, "file", CWD, "x", 0x2L);
	CALL(rename, "sub/file", "sub/name");
	CALL(rename, NULL, "sub/name");
	CALL(renameat, CWD, "sub/name", CWD, "sub/file");
	CALL(renameat, 98L, "x", 99L, BAD);
	CALL(renameat2, CWD, "file", CWD, "sub/file", 1L);
	CALL(renameat2, CWD, "file", CWD, "sub/file", 2L);
	CALL(renameat2, CWD, "file", CWD, "sub/file", 5L);
	CALL(renameat2, CWD, "file", CWD, "sub/file", 0L);
	CALL(renameat2, CWD, NULL, 99L, BAD, 8L);
	CALL(renameat2, CWD, NULL, 99L, BAD, ALL);
	CALL(chmod, "sub/file", 0640);
	CALL(chmod, "sub/file", 0x12345678);
	CALL(chmod, BAD, 0);
	CALL(fchmod, 99L, 04755);
	CALL(fchmodat, CWD, "sub/file", 0600, 0x100L);
	CALL(fchmodat, 99L, "sub/file", 1);
	CALL(chown, "sub/file", -1L, -1L);
	CALL(chown, "nothing", 0L, 1000L);
	CALL(chown, BAD, 0xfffffffe, 0x7fffffff);
	CALL(lchown, "link", -1L, 0xffffffffL);
	CALL(lchown, "nothing", 1L, 2L);
	CALL(fchown, 99L, 65534L, -2L);
	CALL(fchownat, CWD, "link", -1L, -1L, (long)AT_SYMLINK_NOFOLLOW);
	CALL(fchownat, 99L, "", 0L, 0L, (long)AT_EMPTY_PATH);
	CALL(fchownat, 99L, NULL, 0L, 0L, ALL);
	CALL(access, "sub", F_OK);
	CALL(access, "sub/file", R_OK | W_OK | X_OK);
	CALL(access, "nothing", 8L);
	CALL(access, "nothing", 15L);
	CALL(access, BAD, ALL);
	CALL(faccessat, CWD, "sub", X_OK, 0x200L);
	CALL(faccessat, 99L, "sub", R_OK | X_OK);
	CALL(faccessat2, CWD, "sub", R_OK, (long)AT_EACCESS | AT_SYMLINK_NOFOLLOW);
	CALL(faccessat2, CWD, "sub", F_OK, 0L);
	CALL(faccessat2, 99L, NULL, W_OK, ALL);
	CALL(umask, 077);
	CALL(umask, 0xfffff022);
	CALL(umask, 07);
	CALL(umask, 0);
	CALL(umask, 022);
	CALL(chdir, "sub");
	CALL(chdir, "..");
	CALL(chdir, NULL);
	CALL(fchdir, -1L);
	CALL(chroot, "nothing");
	CALL(chroot, BAD);
	CALL(getcwd, state, 512L);
	CALL(getcwd, state, 1L);
	CALL(getcwd, BAD, 100L);
	CALL(getcwd, NULL, 0L);

	CALL(stat, "/dev/null", state);
	CALL(stat, "/", state);
	CALL(stat, "/etc/passwd", state);
	CALL(stat, "nothing", state);
	CALL(stat, "/", BAD);
	CALL(stat, "/", NULL);
	CALL(stat, BAD, NULL);
	CALL(lstat, "/proc/self", state);
	CALL(lstat, "nothing", state);
	CALL(lstat, "/dev/console", state);
	CALL(lstat, "/var/tmp", state);
	CALL(fstat, 99L, state);
	int ends[2];
	CALL(pipe, ends);
	long end = ends[0];
	CALL(newfstatat, CWD, "/usr/bin", state, 0L);
	CALL(newfstatat, CWD, "/proc/self", state, (long)AT_SYMLINK_NOFOLLOW);
	CALL(newfstatat, 99L, "", state, (long)AT_EMPTY_PATH);
	CALL(newfstatat, CWD, "", state, (long)AT_NO_AUTOMOUNT);
	CALL(newfstatat, CWD, BAD, state, ALL);
	CALL(newfstatat, CWD, "/", BAD, 0x2000L);
	long null = CALL(openat, CWD, "/dev/zero", O_RDONLY | O_PATH);
	CALL(fstat, null, state);
	CALL(fstat, null, NULL);
	CALL(newfstatat, null, "", state, (long)AT_EMPTY_PATH);
	CALL(statx, null, "", (long)AT_EMPTY_PATH, 0x7ffL, state);
	CALL(close, null);
	CALL(statx, CWD, "/etc/passwd", 0L, 0xfffL, state);
	CALL(statx, CWD, "/etc/passwd", (long)AT_STATX_FORCE_SYNC, 0L, state);
	CALL(statx, CWD, "/", (long)AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, 0x2000L, state);
	CALL(statx, CWD, "/", 0x6000L, 0x800L, state);
	CALL(statx, CWD, "/", 0x6000L | 0x1000, 0x1fffL, state);
	CALL(statx, CWD, "/", 0L, 0x203L, state);
	CALL(statx, CWD, "/dev/null", 0L, 0xfff03fffL, state);
	CALL(statx, CWD, "/dev/null", ALL, 0x3000L, state);
	CALL(statx, CWD, "nothing", 0L, 0x7ffL, BAD);
	CALL(statx, 99L, BAD, 0x8000L, 0x80000000L, NULL);
	CALL(close, end);
	CALL(close, (long)ends[1]);
	CALL(close, -1L);

	for (long type = 0; type < 16; type++)
		CALL(mknod, "nothing/node", type << 12 | 0640, 0x103L);
	CALL(mknod, "sub/fifo", (long)S_IFIFO | 0644, 0x12345678L);
	CALL(mknod, BAD, ALL, ALL);
	CALL(mknod, "nothing/node", (long)S_IFCHR | 0666, 0xfff00fffL);
	CALL(mknodat, CWD, "nothing/node", (long)S_IFBLK | 0666, 0x7abcdef123L);
	CALL(mknodat, 99L, NULL, 0644L, 1L);
	CALL(mknodat, CWD, "nothing/node", (long)S_IFSOCK | 0400, 1L);
	CALL(unlink, "sub/fifo");

	long dir = CALL(openat, CWD, "sub", O_RDONLY | O_DIRECTORY);
	CALL(getdents64, dir, room, 4096L);
	CALL(getdents64, dir, room, 4096L);
	CALL(lseek, dir, 0L, SEEK_SET);
	CALL(getdents, dir, room, 4096L);
	CALL(getdents, dir, room, 4096L);
	CALL(lseek, dir, 0L, SEEK_SET);
	CALL(getdents64, dir, room, 10L);
	CALL(getdents64, dir, BAD, 4096L);
	CALL(getdents, dir, BAD, 4096L);
	CALL(getdents64, dir, NULL, 0L);
	CALL(getdents64, 99L, room, ALL);
	CALL(fchdir, dir);
	CALL(chdir, "..");
	CALL(close, dir);
	dir = CALL(openat, CWD, "/sys/kernel", O_RDONLY);
	CALL(getdents64, dir, room, 65536L);
	CALL(lseek, dir, 0L, SEEK_SET);
	CALL(getdents, dir, room, 65536L);
	CALL(close, dir);

	struct { long access, modify; } when = { 1000000000, 1700000000 };
	CALL(utime, "file", &when);
	CALL(utime, "file", NULL);
	CALL(utime, "file", BAD);
	when.access = 0;
	when.modify = -1;
	CALL(utime, "file", &when);
	when.access = 1L << 60;
	CALL(utime, "nothing", &when);
	struct { long seconds, rest; } pair[2] = { { 1000000000, 5 }, { 1, 999999 } };
	CALL(utimes, "file", pair);
	CALL(utimes, "file", NULL);
	CALL(utimes, NULL, BAD);
	CALL(utimes, "file", edge - 16);
	CALL(futimesat, CWD, "file", pair);
	CALL(futimesat, 99L, BAD, NULL);
	pair[0].rest = 1000000;
	pair[1].seconds = -5;
	CALL(utimes, "file", pair);
	CALL(futimesat, CWD, "file", pair);
	pair[0].rest = 123456789;
	CALL(utimensat, CWD, "file", pair, 0L);
	pair[0].rest = UTIME_NOW;
	pair[1].rest = UTIME_OMIT;
	CALL(utimensat, CWD, "file", pair, (long)AT_SYMLINK_NOFOLLOW);
	pair[1].rest = -1;
	CALL(utimensat, CWD, "file", pair, 0L);
	pair[1].rest = 1000000000;
	pair[0].seconds = 1L << 50;
	pair[0].rest = 1;
	CALL(utimensat, CWD, "file", pair, (long)AT_EMPTY_PATH);
	pair[1].rest = 0;
	pair[0].seconds = 0;
	CALL(utimensat, CWD, "file", pair, 0L);
	CALL(utimensat, CWD, "file", NULL, 0L);
	CALL(utimensat, CWD, NULL, pair, 0L);
	CALL(utimensat, 99L, BAD, BAD, ALL);
	CALL(utimensat, 99L, NULL, edge - 16, 0L);

	char figures[256];
	CALL(statfs, "/proc", figures);
	CALL(statfs, "/sys", figures);
	CALL(statfs, "/dev/pts", figures);
	CALL(statfs, "nothing", figures);
	CALL(statfs, "/proc", BAD);
	CALL(statfs, NULL, NULL);
	CALL(fstatfs, 99L, figures);
	dir = CALL(openat, CWD, "/proc", O_RDONLY);
	CALL(fstatfs, dir, figures);
	CALL(close, dir);
	CALL(ustat, 0x103L, figures);
	CALL(ustat, ALL, NULL);
	CALL(sysfs, 1L, "ext4", 0L);
	CALL(sysfs, 2L, 0L, figures);
	CALL(sysfs, 3L, 0L, 0L);
	CALL(sysfs, 1L, BAD, 0L);
	CALL(sysfs, 9L, 1L, 2L);

	CALL(unlink, "file");
	CALL(unlink, NULL);
	CALL(unlinkat, CWD, "sub/file", 0L);
	CALL(unlinkat, CWD, "sub/more", (long)AT_REMOVEDIR);
	CALL(unlinkat, 99L, "sub/more", ALL);
	CALL(unlinkat, 99L, BAD, 2L);
	CALL(unlink, "sub/link");
	CALL(unlink, "link");
	CALL(rmdir, "sub");
	CALL(rmdir, BAD);
	CALL(unlink, "data");
	CALL(unlink, "other");
}

static void attributes(void)
{
	char value[4096];
	long fd = CALL(openat, CWD, "tagged", O_RDWR | O_CREAT, 0600);
	CALL(setxattr, "tagged", "user.name", "value", 5L, 0L);
	CALL(setxattr, "tagged", "user.name", "value", 5L, 1L);
	CALL(setxattr, "tagged", "user.none", "value", 5L, 2L);
	CALL(setxattr, "tagged", "user.none", "value", 5L, 4L);
	CALL(setxattr, "tagged", "user.a name that is much longer than thirty-two bytes", "\0\1\2\377", 4L, 3L);
	CALL(setxattr, NULL, NULL, NULL, 0L, ALL);
	CALL(setxattr, "nothing", "user.x", BAD, 5L, 0L);
	CALL(setxattr, "nothing", BAD, "", 0L, 0L);
	CALL(lsetxattr, "tagged", "user.other", "a value that is longer than thirty-two bytes", 44L, 0L);
	CALL(fsetxattr, fd, "user.third", NULL, 0L, 0L);
	CALL(fsetxattr, 99L, "user.third", NULL, 5L, 0L);
	CALL(fsetxattr, 99L, "user.third", "value", ALL, 0L);
	CALL(getxattr, "tagged", "user.name", value, 100L);
	CALL(getxattr, "tagged", "user.name", value, 2L);
	CALL(getxattr, "tagged", "user.name", NULL, 0L);
	CALL(getxattr, "tagged", "user.name", value, 0L);
	CALL(getxattr, "tagged", "user.none", value, 100L);
	CALL(getxattr, "tagged", "user.third", value, 100L);
	CALL(getxattr, BAD, BAD, BAD, 100L);
	CALL(lgetxattr, "tagged", "user.other", value, 100L);
	CALL(lgetxattr, "tagged", "user.other", BAD, 100L);
	CALL(fgetxattr, fd, "user.other", value, ALL);
	CALL(fgetxattr, 99L, "user.other", value, 10L);
	CALL(listxattr, "tagged", value, 10L);
	CALL(listxattr, "tagged", NULL, 0L);
	CALL(listxattr, "nothing", value, 100L);
	CALL(listxattr, BAD, BAD, ALL);
	CALL(llistxattr, "tagged", value, 0L);
	CALL(removexattr, "tagged", "user.other");
	CALL(removexattr, "tagged", "user.third");
	CALL(llistxattr, "tagged", value, 100L);
	CALL(flistxattr, fd, value, 100L);
	CALL(flistxattr, 99L, value, 100L);
	CALL(lremovexattr, "tagged", "user.name");
	CALL(fremovexattr, fd, "user.name");
	CALL(fremovexattr, 99L, BAD);
	CALL(listxattr, "tagged", value, 100L);
	CALL(close, fd);
	CALL(unlink, "tagged");
}

static void mounts(void)
{
	CALL(mount, "from", "nothing", "type", 0L, NULL);
	CALL(mount, NULL, "nothing", NULL, 4096L | 16384, "ignored");
	CALL(mount, "from", "nothing", "type", 1L | 2 | 4 | 8 | 16 | 64 | 128 | 256, "rw,mode=755");
	CALL(mount, NULL, "nothing", NULL, 32L | 4096, BAD);
	CALL(mount, "from", "nothing", NULL, 8192L, NULL);
	CALL(mount, NULL, "nothing", NULL, 16384L | 1L << 17 | 1L << 18 | 1L << 19 | 1L << 20, NULL);
	CALL(mount, "none", "nothing", "proc", 0xc0ed0000L | 1024 | 2048, "data");
	CALL(mount, "none", "nothing", "proc", 0x3fe10c00L | 1024 | 2048, "data");
	CALL(mount, "none", "nothing", "proc", 0xc0ed0000L, "");
	CALL(mount, BAD, BAD, BAD, ALL, BAD);
	CALL(mount, "a source that is longer than thirty-two bytes", "nothing", "a type that is longer than thirty-two bytes",
	     0x200L, "data that are longer than thirty-two bytes");
	CALL(umount2, "nothing", 0L);
	CALL(umount2, "nothing", 1L | 2 | 4 | 8);
	CALL(umount2, BAD, ALL);
	CALL(umount2, NULL, 16L);
	CALL(pivot_root, "nothing", "nothing/old");
	CALL(pivot_root, NULL, BAD);
	CALL(open_tree, CWD, "nothing", 0L);
	CALL(open_tree, CWD, "nothing", 1L | O_CLOEXEC | 0x8000 | 0x1000);
	CALL(open_tree, 99L, BAD, ALL);
	CALL(open_tree, 99L, NULL, 2L);
	CALL(move_mount, CWD, "nothing", CWD, "nowhere", 0L);
	CALL(move_mount, 99L, "", 98L, "", 0x77L);
	CALL(move_mount, 99L, BAD, 98L, NULL, 0x100L | 0x400);
	CALL(move_mount, 99L, BAD, 98L, NULL, 0xfffffdffL);
	CALL(close, CALL(fsopen, "nothing", 0L));
	CALL(fsopen, BAD, 2L);
	CALL(fsopen, NULL, ALL);
	long fs = CALL(fsopen, "tmpfs", 1L);
	CALL(fsconfig, fs, 0L, "ro", NULL, 0L);
	CALL(fsconfig, fs, 1L, "size", "1m", 0L);
	CALL(fsconfig, fs, 1L, "size", "a value that is longer than thirty-two bytes", 0L);
	CALL(fsconfig, fs, 2L, "blob", "\0\1binary", 8L);
	CALL(fsconfig, fs, 2L, "blob", BAD, 8L);
	CALL(fsconfig, fs, 3L, "path", "nothing", CWD);
	CALL(fsconfig, fs, 4L, "path", "", 99L);
	CALL(fsconfig, fs, 5L, "fd", NULL, 98L);
	CALL(fsconfig, 99L, 6L, NULL, NULL, 0L);
	CALL(fsconfig, 99L, 7L, "x", "y", 5L);
	CALL(fsconfig, 99L, 9L, "x", "y", 5L);
	CALL(fsconfig, 99L, 0L, BAD, BAD, ALL);
	CALL(fsconfig, 99L, 1L, BAD, BAD, 5L);
	CALL(fsconfig, 99L, 3L, BAD, BAD, ALL);
	CALL(fsconfig, 99L, ALL, BAD, BAD, ALL);
	CALL(close, fs);
	CALL(fsmount, 99L, 0L, 0L);
	CALL(fsmount, 99L, 1L, 1L | 2 | 4 | 8);
	CALL(fsmount, 99L, ALL, 0x10L);
	CALL(fsmount, 99L, 2L, 0x20L | 0x80 | 0x400000 | 0x800000);
	CALL(fsmount, 99L, 2L, 0xffcfffffL);
	CALL(fspick, CWD, "nothing", 0L);
	CALL(fspick, CWD, "nothing", 1L | 2 | 4 | 8);
	CALL(fspick, 99L, BAD, ALL);
	struct { unsigned long set, clear, propagation, user; char more[16]; } change = { 1, 2, 1 << 18, 99, { 0 } };
	CALL(mount_setattr, CWD, "nothing", 0L, &change, 32L);
	change.propagation = ALL;
	change.set = 0x10;
	change.clear = 0x70;
	CALL(mount_setattr, CWD, "nothing", 0x9000L, &change, 32L);
	change.set = 0x100000;
	change.clear = ALL;
	change.propagation = 0;
	change.user = -1;
	CALL(mount_setattr, CWD, "nothing", ALL, &change, 48L);
	change.more[1] = 1;
	CALL(mount_setattr, CWD, "nothing", 0x8000L, &change, 40L);
	CALL(mount_setattr, CWD, "nothing", 0x8000L, &change, 31L);
	CALL(mount_setattr, CWD, "nothing", 0x8000L, BAD, 32L);
	CALL(mount_setattr, 99L, NULL, 0x8000L, NULL, ALL);

	CALL(swapon, "nothing", 0L);
	CALL(swapon, "nothing", 0x8000L | 5 | 0x10000);
	CALL(swapon, "nothing", 0x20000L | 0x40000 | 7);
	CALL(swapon, BAD, ALL);
	CALL(swapoff, "nothing");
	CALL(swapoff, NULL);
	CALL(acct, "nothing");
	CALL(acct, BAD);

	unsigned long quota[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	for (unsigned command = 0x800001; command < 0x80000b; command++)
		CALL(quotactl, command << 8 | command % 4, "nothing", 1000L, quota);
	for (unsigned command = 0x5801; command < 0x580b; command++)
		CALL(quotactl, command << 8 | command % 3, "nothing", 1000L, quota);
	CALL(quotactl, 0x80000801, "nothing", -1L, BAD);
	CALL(quotactl, 0x80000200, "nothing", 2L, "quota.file");
	CALL(quotactl, 0x80000200, "nothing", 9L, BAD);
	CALL(quotactl, 0x80000600, NULL, 0L, edge - 8);
	CALL(quotactl, 0x800, BAD, 5L, NULL);
	CALL(quotactl, ALL, BAD, ALL, NULL);
	CALL(quotactl_fd, 99L, 0x80000700, 1000L, quota);
	CALL(quotactl_fd, 99L, 0x80000802, 1000L, quota);
	CALL(quotactl_fd, 99L, ALL, ALL, ALL);
}

static void watches(void)
{
	long fd = CALL(inotify_init1, (long)O_NONBLOCK | O_CLOEXEC);
	CALL(close, CALL(inotify_init));
	CALL(inotify_init1, 0x1L);
	CALL(inotify_init1, ALL);
	CALL(inotify_add_watch, fd, ".", 0xfffL);
	CALL(inotify_add_watch, fd, ".", 2L | 0x100 | 0x40000000);
	CALL(inotify_add_watch, fd, "nothing", 0x10000000L | 0x1000000 | 0x2000000 | 0x4000000 | 0x80000000);
	CALL(inotify_add_watch, 99L, BAD, ALL);
	CALL(inotify_add_watch, 99L, NULL, 0L);
	CALL(inotify_add_watch, 99L, NULL, 0x3f000L);
	CALL(inotify_rm_watch, fd, 1L);
	CALL(inotify_rm_watch, 99L, -1L);
	CALL(close, fd);
	CALL(fanotify_init, 0x80000000L, 0L);
	CALL(fanotify_init, 0x80000003L, (long)O_WRONLY | O_CLOEXEC);
	CALL(fanotify_init, 0x8000000cL, ALL);
	CALL(fanotify_init, 0x80000ffcL, 3L);
	CALL(fanotify_init, 0x80000004L, (long)O_LARGEFILE);
	CALL(fanotify_init, 0xffff1fffL, 2L);
	CALL(fanotify_mark, 99L, 1L | 8, 2L | 0x20, CWD, "nothing");
	CALL(fanotify_mark, 99L, 2L | 0x10, 0x40000000L | 0x8000000, 98L, NULL);
	CALL(fanotify_mark, 99L, 0x80L, 0L, ALL, BAD);
	CALL(fanotify_mark, 99L, 0x100L | 1, 0xffffL, CWD, "nothing");
	CALL(fanotify_mark, 99L, 0x200L | 0x400, 0xf80f0000L, CWD, "nothing");
	CALL(fanotify_mark, 99L, 0x1000L, 0x10000000000L, 0xffffffffL, "nothing");
	CALL(fanotify_mark, 99L, ALL, 0xfffffffff80fffffL, -1L, "nothing");

	struct { unsigned bytes; int type; unsigned char handle[128]; } named = { 128, 0, { 0 } };
	int mount;
	CALL(name_to_handle_at, CWD, "/etc/passwd", &named, &mount, 0L);
	CALL(open_by_handle_at, 99L, &named, (long)O_RDWR);
	named.bytes = 2;
	CALL(name_to_handle_at, CWD, "/etc/passwd", &named, &mount, (long)AT_SYMLINK_FOLLOW);
	CALL(name_to_handle_at, CWD, "/etc/passwd", BAD, &mount, (long)AT_EMPTY_PATH);
	CALL(name_to_handle_at, CWD, "nothing", &named, BAD, 0L);
	named.bytes = 129;
	CALL(name_to_handle_at, CWD, "nothing", &named, NULL, 0L);
	CALL(name_to_handle_at, 99L, NULL, NULL, NULL, 0xffff1c00L);
	named.bytes = 8;
	named.type = 1;
	CALL(open_by_handle_at, 99L, &named, (long)O_RDONLY | O_CLOEXEC);
	named.bytes = 128;
	named.type = -5;
	CALL(open_by_handle_at, 99L, &named, ALL);
	named.bytes = 500;
	CALL(open_by_handle_at, 99L, &named, (long)O_CREAT);
	named.bytes = 0;
	CALL(open_by_handle_at, 99L, &named, (long)O_CREAT);
	CALL(open_by_handle_at, 99L, last(&named, 10), (long)O_CREAT);
	named.bytes = 8;
	CALL(open_by_handle_at, 99L, last(&named, 10), (long)O_CREAT);
	CALL(open_by_handle_at, 99L, edge - 4, (long)O_CREAT);
	CALL(open_by_handle_at, 99L, NULL, 0L);

	CALL(uselib, "nothing");
	CALL(lookup_dcookie, 5L, room, 100L);
	CALL(lookup_dcookie, ALL, NULL, ALL);
	struct { int *name; int count, spare; void *old; size_t *old_size; void *new; size_t new_size; } control;
	int path[] = { 1, 1 };
	size_t size = 10;
	memset(&control, 0, sizeof control);
	control.name = path;
	control.count = 2;
	control.old = room;
	control.old_size = &size;
	CALL(_sysctl, &control);
	control.new = "new";
	control.new_size = 3;
	CALL(_sysctl, &control);
	CALL(_sysctl, BAD);
	CALL(_sysctl, NULL);
}

/* What strace 6.1 has no words for: asked for by any argument. */
static void newer(void)
{
	char value[4096];
	struct { unsigned long offset, length; } range = { 0, 4096 };
	char counts[40];
	CALL(cachestat, 99L, &range, counts, 0L);
	CALL(cachestat, 0L, BAD, NULL, 5L);
	CALL(fchmodat2, CWD, "sub/file", 0600, 0x100L);
	CALL(fchmodat2, 99L, BAD, 0600, ALL);
	struct { unsigned long value; unsigned size, flags; } set = { (unsigned long)"value", 5, 1 };
	CALL(setxattrat, CWD, "nothing", 0L, "user.name", &set, 16L);
	CALL(setxattrat, CWD, "nothing", 0x1100L, "user.name", BAD, 16L);
	CALL(getxattrat, CWD, "nothing", 0L, "user.name", &set, 16L);
	CALL(listxattrat, CWD, "nothing", 0x100L, value, 100L);
	CALL(removexattrat, CWD, "nothing", 0L, "user.name");
	CALL(file_getattr, CWD, "nothing", value, 24L, 0x100L);
	CALL(file_setattr, CWD, "nothing", memset(value, 0, 24), 24L, 0x100L);
	struct { unsigned size, spare; unsigned long id, param, namespace; } ask = { 24, 0, 0xffff0001, 0xff, 0 };
	CALL(statmount, &ask, room, 4096L, 0L);
	CALL(statmount, BAD, room, 4096L, 0L);
	CALL(listmount, &ask, room, 10L, 0L);
	CALL(listmount, BAD, room, 10L, 1L);
	CALL(pwritev2, 99L, NULL, 0L, 7L, 0L, 0x60L);
	CALL(fallocate, 99L, 0x80L, 0L, 0L);
	CALL(memfd_create, "plain", 0x18L);
	CALL(statx, CWD, "/dev/null", 0L, 0x3c000L, room);
	CALL(move_mount, 99L, BAD, 98L, NULL, 0x200L);
	CALL(fsconfig, 99L, 8L, NULL, NULL, 0L);
	CALL(fsmount, 99L, 1L, 0x300000L);
	CALL(fanotify_init, 0x6000L, 0L);
	CALL(fanotify_mark, 99L, 1L, 0x3100000L, CWD, NULL);
	CALL(name_to_handle_at, 99L, NULL, NULL, NULL, 0x203L);
}

int main(int count, char **words)
{
	(void)words;
	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge += 4096;
	munmap(edge, 4096);
	mkdir(DIRECTORY, 0755);
	if (chdir(DIRECTORY))
		return 1;
	opening();
	descriptors();
	transfers();
	names();
	attributes();
	mounts();
	watches();
	if (count > 1)
		newer();
	CALL(sync);
	CALL(chdir, "..");
	CALL(rmdir, DIRECTORY);
	return 0;
}
