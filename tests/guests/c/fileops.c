/* Runs scripts of file operations and says what each came to, in words that do not depend on where it runs.

   fileops fill COUNT    make the directories s0 .. s(COUNT-1) here, each with the same small tree
   fileops run 0         read scripts on standard input; the Nth works in sN
   fileops both COUNT    fill, then run

   A third argument names the directory to do it in, made if need be; a fourth, what it will be called when the
   scripts run.

   A script is lines of `operation argument...` (the table at the end), and ends with a line `--`.  Each runs in a child,
   with its own umask, working directory and descriptors; its parent then prints the tree that is left.

   Descriptors live in slots 0 to 7.  A directory argument is a slot, or `.` for AT_FDCWD.  In a path %XX is that byte, `%`
   alone the empty path, `!` a null pointer, a leading @ the directory the script started in, and a leading &N
   /proc/self/fd/ with slot N's descriptor.  Inodes and rename cookies are numbered as they are met; an inode
   that was met is kept open, lest its number be given to another.  A time that is not today's was set, and
   is printed.  A script cannot settle more than two directories above its start, and the start lies
   far below sN, so `..` leads to nothing that matters. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 8
#define DEEP "u/u/u/u/u/u"

struct how { uint64_t flags, mode, resolve; };

static int slots[SLOTS];
static char start[PATH_MAX]; /* the directory the script started in */
static char fence[PATH_MAX]; /* two above it */
static int start_fd;
static time_t today;
static struct { dev_t dev; ino_t ino; } seen[512];
static int seen_count;
static uint32_t cookies[64];
static int cookie_count;

/* -- words ---------------------------------------------------------------------------------------- */

static const struct { const char *name; long value; } words[] = {
#define W(name) {#name, name}
#define O(name) {#name, O_##name}
	O(RDONLY), O(WRONLY), O(RDWR), O(CREAT), O(EXCL), O(TRUNC), O(APPEND), O(NONBLOCK), O(DIRECTORY), O(NOFOLLOW),
	O(PATH), O(TMPFILE), O(CLOEXEC), O(NOATIME), O(SYNC), O(NOCTTY), {"ACC3", 3}, {"HIGH", 1L << 30},
	{"BENEATH", 8}, {"IN_ROOT", 16}, {"NO_SYMLINKS", 4}, {"NO_MAGICLINKS", 2}, {"NO_XDEV", 1}, {"CACHED", 32},
	{"BAD_RESOLVE", 0x1000},
	W(AT_SYMLINK_NOFOLLOW), W(AT_SYMLINK_FOLLOW), W(AT_EMPTY_PATH), W(AT_REMOVEDIR), W(AT_EACCESS),
	W(AT_NO_AUTOMOUNT), {"AT_BAD", 0x40000},
	{"NOREPLACE", 1}, {"EXCHANGE", 2}, {"RENAME_BAD", 64},
	W(SEEK_SET), W(SEEK_CUR), W(SEEK_END), W(SEEK_DATA), W(SEEK_HOLE),
	W(S_IFREG), W(S_IFDIR), W(S_IFIFO), W(S_IFSOCK), W(S_IFLNK),
	{"KEEP_SIZE", 1}, {"PUNCH_HOLE", 2}, {"COLLAPSE", 8}, {"ZERO", 16},
	W(LOCK_SH), W(LOCK_EX), W(LOCK_UN), W(F_RDLCK), W(F_WRLCK), W(F_UNLCK),
	{"X_CREATE", XATTR_CREATE}, {"X_REPLACE", XATTR_REPLACE},
	W(IN_ALL_EVENTS), W(IN_ONLYDIR), W(IN_DONT_FOLLOW), W(IN_ONESHOT), W(IN_MASK_ADD), W(IN_MASK_CREATE),
	W(IN_MODIFY), W(IN_CREATE), W(IN_DELETE), W(IN_MOVE), W(IN_ATTRIB), W(IN_OPEN), W(IN_DELETE_SELF), W(IN_EXCL_UNLINK),
};

/* A number, or words with | between. */
static long number(const char *text)
{
	char *end, copy[256], *state, *word;
	long result = strtol(text, &end, 0);
	if (!*end)
		return result;
	snprintf(copy, sizeof copy, "%s", text);
	result = 0;
	for (word = strtok_r(copy, "|", &state); word; word = strtok_r(NULL, "|", &state)) {
		size_t i;
		if (!strcmp(word, "0"))
			continue;
		for (i = 0; i < sizeof words / sizeof *words && strcmp(words[i].name, word); i++)
			;
		if (i == sizeof words / sizeof *words)
			fprintf(stderr, "no word %s\n", word), exit(2);
		result |= words[i].value;
	}
	return result;
}

static char *decode(const char *text, int as_path)
{
	static char room[8][8192];
	static int next;
	char *result = room[next++ % 8], *to = result;
	if (!strcmp(text, "!"))
		return NULL;
	if (as_path && *text == '@')
		to += sprintf(to, "%s", start), text++;
	if (as_path && *text == '&')
		to += sprintf(to, "/proc/self/fd/%d", slots[(text[1] - '0') % SLOTS]), text += 2;
	while (*text) {
		unsigned byte;
		if (*text == '%' && text[1] == 0) {
			text++;
		} else if (*text == '%') {
			sscanf(text + 1, "%2x", &byte);
			*to++ = byte;
			text += 3;
		} else
			*to++ = *text++;
	}
	*to = 0;
	return result;
}

static int slot_fd(const char *text)
{
	return !strcmp(text, ".") ? AT_FDCWD : slots[atoi(text) % SLOTS];
}

/* -- printing ------------------------------------------------------------------------------------- */

static void show(const char *data, size_t size)
{
	size_t i, same;
	putchar('"');
	for (i = 0; i < size; i += same) {
		unsigned char byte = data[i];
		for (same = 1; i + same < size && data[i + same] == data[i]; same++)
			;
		if (byte < 33 || byte > 126 || byte == '"' || byte == '%')
			printf("%%%02x", byte);
		else
			putchar(byte);
		if (same > 3)
			printf("{%zu}", same);
		else
			same = 1;
	}
	putchar('"');
}

/* A path with the start's own path as @. */
static void show_path(const char *path)
{
	size_t length = strlen(start);
	if (length && !strncmp(path, start, length)) {
		putchar('@');
		path += length;
	} else if (*fence && !strncmp(path, fence, strlen(fence))) {
		putchar('^');
		path += strlen(fence);
	}
	show(path, strlen(path));
}

static long result(long value)
{
	if (value < 0)
		printf(" %s", strerrorname_np(errno));
	return value;
}

static void ok(long value)
{
	if (result(value) >= 0)
		printf(" %ld", value);
}

static void show_time(const char *name, int64_t sec, long nsec)
{
	if (sec > today - 86400 && sec < today + 86400)
		printf(" %s now", name);
	else
		printf(" %s %lld.%09ld", name, (long long)sec, nsec);
}

/* The number of an inode; `pin` is a descriptor of it, or -1, and is kept if the inode is new. */
static int inode(dev_t dev, ino_t ino, int pin)
{
	int i;
	for (i = 0; i < seen_count; i++)
		if (seen[i].dev == dev && seen[i].ino == ino)
			break;
	if (i == seen_count && i < 512) {
		seen[seen_count].dev = dev;
		seen[seen_count++].ino = ino;
	} else if (pin >= 0)
		close(pin);
	return i;
}

static void show_status(const struct stat *st, int number)
{
	printf(" %o link %ld #%d %s%s", st->st_mode, (long)st->st_nlink, number, st->st_uid == geteuid() ? "mine" : "other",
	       st->st_gid == getegid() ? "" : " othergroup");
	show_time("m", st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (S_ISDIR(st->st_mode)) /* whoever looks through /tmp changes its atime */
		return;
	show_time("a", st->st_atim.tv_sec, st->st_atim.tv_nsec);
	printf(" size %lld", (long long)st->st_size);
}

/* -- descriptors ---------------------------------------------------------------------------------- */

static int inside(const char *path)
{
	size_t length = strlen(fence);
	return !strncmp(path, fence, length) && (!path[length] || path[length] == '/' || path[length] == ' ');
}

static void store(const char *slot, int fd)
{
	int *place = &slots[atoi(slot) % SLOTS];
	char link[64], path[PATH_MAX + 32];
	struct stat st;
	if (result(fd) < 0)
		return;
	if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		sprintf(link, "/proc/self/fd/%d", fd);
		long length = readlink(link, path, sizeof path - 1);
		path[length < 0 ? 0 : length] = 0;
		if (length < 0)
			result(length);
		if (!inside(path)) {
			printf(" outside");
			close(fd);
			return;
		}
	}
	if (*place >= 0)
		close(*place);
	*place = fd;
	printf(" ok");
}

static int pinned(int dirfd, const char *path, int flags)
{
	if (!path || (!*path && (flags & AT_EMPTY_PATH)))
		return dirfd < 0 ? open(".", O_PATH | O_CLOEXEC) : fcntl(dirfd, F_DUPFD_CLOEXEC, 100);
	return openat(dirfd, path, O_PATH | O_CLOEXEC | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0));
}

/* Never wait for a named pipe's other end. */
static long patient(int dirfd, const char *path, long flags)
{
	struct stat st;
	if (path && !fstatat(dirfd, path, &st, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) && S_ISFIFO(st.st_mode))
		flags |= O_NONBLOCK;
	return flags;
}

/* -- operations ----------------------------------------------------------------------------------- */

#define OP(name) static void op_##name(char **v)
#define FD(i) slot_fd(v[i])
#define N(i) number(v[i])
#define P(i) decode(v[i], 1)

OP(open)
{
	char *path = P(2);
	store(v[0], syscall(SYS_openat, FD(1), path, (int)patient(FD(1), path, N(3)), (int)N(4)));
}

OP(openat2)
{
	char *path = P(2);
	struct how how = {patient(FD(1), path, N(3)), N(4), N(5)};
	store(v[0], syscall(SYS_openat2, FD(1), path, &how, sizeof how));
}

OP(close)
{
	ok(close(FD(0)));
	slots[atoi(v[0]) % SLOTS] = -1;
}

OP(dup) { store(v[0], fcntl(FD(1), F_DUPFD_CLOEXEC, 0)); }

OP(getfl)
{
	long flags = result(fcntl(FD(0), F_GETFL));
	if (flags >= 0)
		printf(" %lo", flags & ~0100000L);
}

static void status(int dirfd, char *path, int flags)
{
	struct stat st;
	if (result(syscall(SYS_newfstatat, dirfd, path, &st, flags)) < 0)
		return;
	show_status(&st, inode(st.st_dev, st.st_ino, pinned(dirfd, path, flags)));
}

OP(stat) { status(FD(0), P(1), N(2)); }

OP(fstat)
{
	struct stat st;
	if (result(fstat(FD(0), &st)) >= 0)
		show_status(&st, inode(st.st_dev, st.st_ino, fcntl(FD(0), F_DUPFD_CLOEXEC, 100)));
}

OP(statx)
{
	struct statx st;
	char *path = P(1);
	if (result(statx(FD(0), path, N(2), STATX_BASIC_STATS, &st)) < 0)
		return;
	printf(" %o link %u", st.stx_mode, st.stx_nlink);
	show_time("m", st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec);
	if (S_ISDIR(st.stx_mode))
		return;
	show_time("a", st.stx_atime.tv_sec, st.stx_atime.tv_nsec);
	printf(" size %lld", (long long)st.stx_size);
}

OP(statfs)
{
	struct statfs fs;
	if (result(statfs(P(0), &fs)) >= 0)
		printf(" name %ld block %ld", (long)fs.f_namelen, (long)fs.f_bsize);
}

static char buffer[1 << 17];

static void got(long count)
{
	if (result(count) >= 0)
		printf(" %ld ", count), show(buffer, count);
}

OP(read) { got(read(FD(0), buffer, N(1) % sizeof buffer)); }
OP(pread) { got(pread(FD(0), buffer, N(1) % sizeof buffer, N(2))); }
OP(write) { char *text = decode(v[1], 0); ok(write(FD(0), text, strlen(text))); }
OP(pwrite) { char *text = decode(v[1], 0); ok(pwrite(FD(0), text, strlen(text), N(2))); }
OP(lseek)
{
	/* Where a directory's end is, is the file system's own affair. */
	struct stat st;
	long at = lseek(FD(0), N(1), N(2));
	if (at > 0 && !fstat(FD(0), &st) && S_ISDIR(st.st_mode))
		at = lseek(FD(0), 0, SEEK_SET);
	ok(at);
}
OP(ftruncate) { ok(ftruncate(FD(0), N(1))); }
OP(truncate) { ok(truncate(P(0), N(1))); }
OP(fallocate) { ok(fallocate(FD(0), N(1), N(2), N(3))); }
OP(fsync) { ok(fsync(FD(0))); }
OP(copy)
{
	off_t from = N(1), to = N(3);
	ok(copy_file_range(FD(0), &from, FD(2), &to, N(4), 0));
}

OP(mmap)
{
	struct stat st;
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, FD(0), 0), *text = decode(v[1], 0);
	if (map == MAP_FAILED) {
		result(-1);
		return;
	}
	if (!fstat(FD(0), &st) && st.st_size >= (off_t)strlen(text)) {
		show(map, st.st_size < 8 ? st.st_size : 8);
		memcpy(map, text, strlen(text));
		long count = pread(FD(0), buffer, 8, 0);
		got(count);
	} else
		printf(" short");
	munmap(map, 4096);
}

OP(mkdir) { ok(mkdirat(FD(0), P(1), N(2))); }
OP(mknod) { ok(syscall(SYS_mknodat, FD(0), P(1), (int)(N(2) | N(3)), 0)); }
OP(symlink) { ok(symlinkat(P(0), FD(1), P(2))); }
OP(link) { ok(linkat(FD(0), P(1), FD(2), P(3), N(4))); }
OP(unlink) { ok(unlinkat(FD(0), P(1), N(2))); }
OP(rmdir) { ok(rmdir(P(0))); }
OP(rename) { ok(syscall(SYS_renameat2, FD(0), P(1), FD(2), P(3), (int)N(4))); }

OP(chmod)
{
	long flags = N(3);
	ok(flags ? syscall(452, FD(0), P(1), (int)N(2), (int)flags) : syscall(SYS_fchmodat, FD(0), P(1), (int)N(2)));
}

OP(fchmod) { ok(fchmod(FD(0), N(1))); }
/* To the owner it has: nothing changes but set-id bits. */
OP(chown) { ok(fchownat(FD(0), P(1), N(2) & 1 ? geteuid() : -1, N(2) & 2 ? getegid() : -1, N(3))); }
OP(fchown) { ok(fchown(FD(0), N(1) & 1 ? geteuid() : -1, N(1) & 2 ? getegid() : -1)); }

static struct timespec moment(const char *text)
{
	struct timespec time = {0, 0};
	char *end;
	if (!strcmp(text, "now"))
		time.tv_nsec = UTIME_NOW;
	else if (!strcmp(text, "omit"))
		time.tv_nsec = UTIME_OMIT;
	else {
		time.tv_sec = strtoll(text, &end, 10);
		time.tv_nsec = *end ? strtol(end + 1, NULL, 10) : 0;
	}
	return time;
}

OP(utimens)
{
	struct timespec times[2] = {moment(v[2]), moment(v[3])};
	ok(syscall(SYS_utimensat, FD(0), P(1), !strcmp(v[2], "null") ? NULL : times, (int)N(4)));
}

OP(futimens)
{
	struct timespec times[2] = {moment(v[1]), moment(v[2])};
	ok(syscall(SYS_utimensat, FD(0), NULL, !strcmp(v[1], "null") ? NULL : times, 0));
}

OP(access) { ok(syscall(439, FD(0), P(1), (int)N(2), (int)N(3))); }

OP(readlink)
{
	char *path = P(1);
	long size = N(2), count = syscall(SYS_readlinkat, FD(0), path, buffer, (int)size);
	if (result(count) < 0)
		return;
	printf(" %ld", count);
	buffer[count] = 0;
	if (count && *buffer == '/') { /* a descriptor's link, or one made from an @ */
		if (count < size)
			show_path(buffer);
	} else
		show(buffer, count);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

/* The rest of a directory, through a buffer of `size` bytes; each batch is removed as it comes if `removing`. */
static void list(int fd, long size, int removing, int old)
{
	static char data[65536];
	char *names[1024];
	int count = 0, i;
	for (;;) {
		long length = syscall(old ? SYS_getdents : SYS_getdents64, fd, data, size), at;
		if (length < 0) { /* which names came first is the file system's own affair */
			result(length);
			lseek(fd, 0, SEEK_SET);
			return;
		}
		if (!length)
			break;
		int first = count;
		for (at = 0; at < length && count < 1024;) {
			char *record = data + at, *name = record + (old ? 18 : 19);
			uint64_t ino = *(uint64_t *)record;
			int step = *(uint16_t *)(record + 16), kind = old ? record[step - 1] : record[18];
			struct stat st;
			const char *wrong = "";
			if (strcmp(name, "..") && !fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
				if (st.st_ino != ino)
					wrong = " ino-differs";
				if ((st.st_mode & S_IFMT) != (unsigned)DTTOIF(kind))
					wrong = " type-differs";
			}
			if (asprintf(&names[count++], "%s (%d%s)", name, kind, wrong) < 0)
				exit(2);
			at += step;
		}
		for (i = first; i < count && removing; i++) {
			char name[300];
			snprintf(name, sizeof name, "%.*s", (int)(strrchr(names[i], '(') - names[i] - 1), names[i]);
			unlinkat(fd, name, 0);
		}
	}
	qsort(names, count, sizeof *names, by_name);
	for (i = 0; i < count; i++) {
		putchar(' ');
		show(names[i], strlen(names[i]));
		free(names[i]);
	}
}

OP(list) { list(FD(0), N(1), 0, 0); }
OP(listold) { list(FD(0), N(1), 0, 1); }
OP(listrm) { list(FD(0), N(1), 1, 0); }

static void back_in(void)
{
	char path[PATH_MAX];
	if (getcwd(path, sizeof path) && !inside(path)) {
		printf(" outside");
		fchdir(start_fd);
	}
}

OP(chdir) { ok(chdir(P(0))); back_in(); }
OP(fchdir) { ok(fchdir(FD(0))); back_in(); }

OP(getcwd)
{
	char path[PATH_MAX];
	long count = syscall(SYS_getcwd, path, v[0] && N(0) ? N(0) : sizeof path);
	if (result(count) >= 0)
		putchar(' '), show_path(path);
}

/* Below what a path can name. */
OP(deep)
{
	char name[251];
	long i, count = N(0);
	memset(name, 'D', 250);
	name[250] = 0;
	for (i = 0; i < count && !mkdir(name, 0755) && !chdir(name); i++)
		;
	if (i < count)
		result(-1);
	printf(" %ld", i);
}

OP(umask) { ok(umask(N(0))); }

/* Extended attributes: kind p (follow), l (not), f (a slot). */
OP(setx)
{
	char *name = decode(v[2], 0), *value = decode(v[3], 0);
	long size = strlen(value), flags = N(4);
	ok(*v[0] == 'f' ? fsetxattr(FD(1), name, value, size, flags)
	   : *v[0] == 'l' ? lsetxattr(P(1), name, value, size, flags)
	   : setxattr(P(1), name, value, size, flags));
}

OP(getx)
{
	char *name = decode(v[2], 0);
	long size = N(3), count;
	count = *v[0] == 'f' ? fgetxattr(FD(1), name, buffer, size)
	      : *v[0] == 'l' ? lgetxattr(P(1), name, buffer, size) : getxattr(P(1), name, buffer, size);
	if (result(count) >= 0)
		printf(" %ld ", count), show(buffer, size ? count : 0);
}

static void show_attributes(long count)
{
	char *names[256];
	int n = 0, i;
	for (long at = 0; at < count && n < 256; at += strlen(buffer + at) + 1)
		if (!strncmp(buffer + at, "user.", 5))
			names[n++] = buffer + at;
	qsort(names, n, sizeof *names, by_name);
	for (i = 0; i < n; i++)
		putchar(' '), show(names[i], strlen(names[i]));
}

OP(listx)
{
	long size = N(2), count;
	count = *v[0] == 'f' ? flistxattr(FD(1), buffer, size)
	      : *v[0] == 'l' ? llistxattr(P(1), buffer, size) : listxattr(P(1), buffer, size);
	if (result(count) >= 0 && size)
		show_attributes(count);
}

OP(rmx)
{
	char *name = decode(v[2], 0);
	ok(*v[0] == 'f' ? fremovexattr(FD(1), name) : *v[0] == 'l' ? lremovexattr(P(1), name) : removexattr(P(1), name));
}

OP(flock) { ok(flock(FD(0), N(1) | LOCK_NB)); }

static void lock(char **v, int command)
{
	struct flock lock = {N(1), SEEK_SET, N(2), N(3), 0};
	ok(fcntl(FD(0), command, &lock));
}

OP(lock) { lock(v, F_SETLK); }
OP(olock) { lock(v, F_OFD_SETLK); }

/* What a child meets that wants the lock. */
static void lock_test(char **v, int command)
{
	struct flock lock = {N(1), SEEK_SET, N(2), N(3), 0};
	pid_t owner = getpid();
	fflush(stdout);
	pid_t child = command == F_GETLK ? fork() : 0;
	if (!child) {
		if (result(fcntl(FD(0), command, &lock)) >= 0) {
			printf(" %s", lock.l_type == F_UNLCK ? "free" : lock.l_type == F_RDLCK ? "read" : "write");
			if (lock.l_type != F_UNLCK)
				printf(" %ld %ld %s", (long)lock.l_start, (long)lock.l_len,
				       lock.l_pid == owner ? "mine" : lock.l_pid == -1 ? "file's" : "whose?");
		}
		if (command == F_GETLK) {
			fflush(stdout);
			_exit(0);
		}
	} else
		waitpid(child, NULL, 0);
}

OP(locktest) { lock_test(v, F_GETLK); }
OP(olocktest) { lock_test(v, F_OFD_GETLK); }

OP(inotify) { store(v[0], inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }
OP(watch) { ok(inotify_add_watch(FD(0), P(1), N(2))); }
OP(unwatch) { ok(inotify_rm_watch(FD(0), N(1))); }

OP(events)
{
	static char data[65536] __attribute__((aligned(8)));
	long length = read(FD(0), data, sizeof data), at;
	if (result(length) < 0)
		return;
	for (at = 0; at < length;) {
		struct inotify_event *event = (void *)(data + at);
		if (at + (long)sizeof *event > length)
			break; /* no inotify descriptor */
		printf(" [%d %x", event->wd, event->mask);
		if (event->cookie) {
			int i;
			for (i = 0; i < cookie_count && cookies[i] != event->cookie; i++)
				;
			if (i == cookie_count && i < 64)
				cookies[cookie_count++] = event->cookie;
			printf(" ~%d", i);
		}
		if (event->len)
			putchar(' '), show(event->name, strlen(event->name));
		putchar(']');
		at += sizeof *event + event->len;
	}
}

static const struct { const char *name; int count; void (*run)(char **); } operations[] = {
#define T(name, count) {#name, count, op_##name}
	T(open, 5),     /* slot dir path flags mode */
	T(openat2, 6),  /* slot dir path flags mode resolve */
	T(close, 1), T(dup, 2), T(getfl, 1),
	T(stat, 3), T(statx, 3), /* dir path flags */
	T(fstat, 1), T(statfs, 1),
	T(read, 2), T(pread, 3), T(write, 2), T(pwrite, 3), T(lseek, 3), T(ftruncate, 2), T(truncate, 2),
	T(fallocate, 4), /* slot mode offset length */
	T(fsync, 1),
	T(copy, 5),     /* slot offset slot offset length */
	T(mmap, 2),     /* slot text */
	T(mkdir, 3), T(mknod, 4), T(symlink, 3), /* target dir path */
	T(link, 5), T(unlink, 3), T(rmdir, 1), T(rename, 5),
	T(chmod, 4),    /* dir path mode flags */
	T(fchmod, 2),
	T(chown, 4),    /* dir path 1|2 flags */
	T(fchown, 2),
	T(utimens, 5),  /* dir path atime mtime flags */
	T(futimens, 3),
	T(access, 4),   /* dir path mode flags */
	T(readlink, 3), T(list, 2), T(listold, 2), T(listrm, 2), T(chdir, 1), T(fchdir, 1), T(getcwd, 1), T(deep, 1), T(umask, 1),
	T(setx, 5),     /* kind path name value flags */
	T(getx, 4), T(listx, 3), T(rmx, 3),
	T(flock, 2), T(lock, 4), T(olock, 4), T(locktest, 4), T(olocktest, 4), /* slot type start length */
	T(inotify, 1), T(watch, 3), T(unwatch, 2), T(events, 1),
};

static void operate(char *line)
{
	char *v[12] = {0}, *state, *word, *name = strtok_r(line, " ", &state);
	int count = 0;
	for (word = strtok_r(NULL, " ", &state); word && count < 11; word = strtok_r(NULL, " ", &state))
		v[count++] = word;
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		if (!strcmp(operations[i].name, name)) {
			if (count != operations[i].count)
				break;
			printf("%s", name);
			operations[i].run(v);
			putchar('\n');
			return;
		}
	fprintf(stderr, "no operation %s with %d arguments\n", name, count);
	exit(2);
}

/* -- the tree ------------------------------------------------------------------------------------- */

static void dump(int dirfd, const char *name, char *path)
{
	struct stat st;
	size_t length = strlen(path);
	snprintf(path + length, 65000 - length, "/%s", name);
	putchar(' ');
	show(path + 1, strlen(path + 1));
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		result(-1);
		putchar('\n');
		path[length] = 0;
		return;
	}
	show_status(&st, inode(st.st_dev, st.st_ino, -1));
	int fd = -1;
	if (S_ISLNK(st.st_mode)) {
		char target[PATH_MAX];
		long size = readlinkat(dirfd, name, target, sizeof target - 1);
		if (result(size) >= 0) {
			target[size] = 0;
			printf(" -> ");
			show_path(target);
		}
	} else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		long size = 0;
		fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		result(fd);
		if (fd >= 0) {
			char names[4096];
			long count = flistxattr(fd, names, sizeof names);
			memcpy(buffer, names, count < 0 ? 0 : count);
			show_attributes(count);
		}
		if (fd >= 0 && S_ISREG(st.st_mode)) {
			uint64_t hash = 1469598103934665603u;
			long count;
			while ((count = read(fd, buffer, sizeof buffer)) > 0 && (size += count) < 1 << 22)
				for (long i = 0; i < count; i++)
					hash = (hash ^ (unsigned char)buffer[i]) * 1099511628211u;
			result(count);
			printf(" %016llx", (unsigned long long)hash);
		}
	}
	putchar('\n');
	if (S_ISDIR(st.st_mode) && fd >= 0) {
		DIR *dir = fdopendir(fd);
		struct dirent *entry;
		char *names[1024];
		int count = 0;
		while ((entry = readdir(dir)) && count < 1024)
			if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
				names[count++] = strdup(entry->d_name);
		qsort(names, count, sizeof *names, by_name);
		for (int i = 0; i < count; i++) {
			dump(fd, names[i], path);
			free(names[i]);
		}
		closedir(dir);
	} else if (fd >= 0)
		close(fd);
	path[length] = 0;
}

/* -- what every script finds ---------------------------------------------------------------------- */

static void file(const char *path, const char *content, int mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd < 0 || write(fd, content, strlen(content)) < 0 || fchmod(fd, mode))
		perror(path), exit(2);
	close(fd);
}

static void directory(const char *path, int mode)
{
	if (mkdir(path, 0700) || chmod(path, mode))
		perror(path), exit(2);
}

static void age(const char *path, int n)
{
	struct timespec times[2] = {{1000000000 + n, 1000 + n}, {1100000000 + n, 123456789 + n}};
	utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static void fill(const char *called, int index)
{
	static const char *const made[] = {
		"a", "c", "d/a", "d/b", "d/d/c", "d/d", "d", "e", "f", "g", "h", "i", "j", "k", "l/a", "l", "m", "n", "o", "p",
		"q", "r", "%s", "\xff\xfe", ".",
	};
	char path[PATH_MAX], name[256];
	int home = open(".", O_RDONLY | O_DIRECTORY), n = 0;
	sprintf(path, "s%d", index);
	directory(path, 0755);
	if (chdir(path))
		exit(2);
	for (size_t i = 0; i < (sizeof DEEP) / 2; i++) {
		directory("u", 0755);
		if (chdir("u"))
			exit(2);
	}
	memset(name, 'N', 255);
	name[255] = 0;
	file("a", "alpha\n", 0644);
	link("a", "b");
	symlink("a", "c");
	directory("d", 0755);
	file("d/a", "delta", 0600);
	symlink("../a", "d/b");
	directory("d/d", 0755);
	file("d/d/c", "deep", 0644);
	symlink("d", "e");
	mkfifo("f", 0644);
	int fd = open("g", O_CREAT | O_RDWR, 0644);
	pwrite(fd, "far", 3, 300000);
	ftruncate(fd, 400000);
	close(fd);
	symlink("nowhere", "h");
	symlink("j", "i");
	symlink("i", "j");
	file("k", "kept", 0);
	directory("l", 02775);
	file("l/a", "lima", 0755);
	mknod("m", S_IFSOCK | 0644, 0);
	directory("n", 0700);
	symlink("d/", "o");
	snprintf(path, sizeof path, "%s/s%d/" DEEP "/d", called, index);
	symlink(path, "p");
	file("q", "", 0444);
	directory("r", 0755);
	file("r/a", "romeo", 0644);
	chmod("r", 0);
	file("\xff\xfe", "bytes", 0644);
	file(name, "long", 0644);
	age(name, n++);
	for (size_t i = 0; i < sizeof made / sizeof *made; i++)
		age(made[i], n++);
	if (fchdir(home))
		perror("fchdir"), exit(2);
	close(home);
}

/* -- scripts -------------------------------------------------------------------------------------- */

static void begin(int index)
{
	char name[64];
	sprintf(name, "s%d/%s", index, DEEP);
	if (chdir(name) || !getcwd(start, sizeof start))
		perror(name), exit(2);
	strcpy(fence, start);
	*strrchr(fence, '/') = 0;
	*strrchr(fence, '/') = 0;
	start_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_fd = fcntl(start_fd, F_DUPFD_CLOEXEC, 900);
	umask(022);
	seen_count = 0;
	for (int i = 0; i < SLOTS; i++)
		slots[i] = -1;
}

int main(int argc, char **argv)
{
	static char line[1 << 16], path[1 << 16];
	char *lines[256];
	int count = 0, index = 0, wanted = argc > 2 ? atoi(argv[2]) : 0;
	umask(0);
	today = time(NULL);
	if (argc > 3) {
		mkdir(argv[3], 0755);
		if (chdir(argv[3]))
			perror(argv[3]), exit(2);
	}
	if (argc > 1 && strcmp(argv[1], "run"))
		for (int i = 0; i < wanted; i++)
			fill(argc > 4 ? argv[4] : argc > 3 ? argv[3] : "", i);
	if (argc > 1 && !strcmp(argv[1], "fill"))
		return 0;
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (strcmp(line, "--")) {
			lines[count++] = strdup(line);
			continue;
		}
		printf("script\n");
		fflush(stdout);
		pid_t child = fork();
		if (!child) {
			alarm(30);
			begin(index);
			for (int i = 0; i < count; i++) {
				operate(lines[i]);
				fflush(stdout);
			}
			_exit(0);
		}
		int state;
		waitpid(child, &state, 0);
		if (state)
			printf(" ended %x\n", state);
		printf("tree\n");
		*path = 0;
		seen_count = 0;
		sprintf(line, "s%d", index);
		realpath(line, start);
		strcat(start, "/" DEEP);
		*fence = 0;
		dump(AT_FDCWD, line, path);
		fflush(stdout);
		while (count)
			free(lines[--count]);
		index++;
	}
	return 0;
}
