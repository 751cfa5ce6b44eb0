/* trace_waiting: the calls that wait, those that tell and set the time, and asynchronous input and output, in many shapes.

   Nothing waits for more than a millisecond or two.  The rights to set the clock are given up first, and no call asks for
   a time that could be set: nothing here can change the host's clock. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BAD ((void *)0x10)
#define call(name, ...) syscall(SYS_##name, __VA_ARGS__)
#define PAGE 4096L

static char *room; /* two pages and a hole behind them */
static int ends[2]; /* a pipe that holds a byte */
static int empty[2];

static void *last(const void *data, unsigned long size)
{
	return memcpy(room + 2 * PAGE - size, data, size);
}

static void polls(void)
{
	struct pollfd list[40];
	struct timespec none = {0, 0}, soon = {0, 1000000}, wrong = {-1, 1000000000};
	unsigned long set[2] = {1 << (SIGINT - 1) | 1 << (SIGUSR1 - 1), 0};
	memset(list, 0, sizeof list);
	for (int i = 0; i < 40; i++) {
		list[i].fd = i < 2 ? ends[i] : i == 2 ? -1 : i == 3 ? 77 : empty[0];
		list[i].events = 1 << i % 16;
	}
	call(poll, list, 0, 0);
	call(poll, NULL, 0, 1);
	call(poll, list, 1, -1);
	call(poll, list + 4, 1, 1);
	call(poll, list, 2, -1);
	list[1].events = POLLOUT | POLLIN | POLLPRI;
	call(poll, list, 2, 1000);
	call(poll, list, 4, 1000);
	call(poll, list, 40, 0);
	list[5].events = -1;
	list[5].revents = 5;
	call(poll, list + 4, 2, 0);
	for (int i = 6; i < 40; i++)
		list[i].events = POLLOUT, list[i].fd = i % 7 ? ends[1] : -i;
	call(poll, list + 6, 34, 0);
	list[5].events = 0x5800;
	call(poll, list + 5, 1, 0x100000001);
	call(poll, list + 2, 1, 0);
	call(poll, NULL, 1, 0);
	call(poll, BAD, 1, 0);
	call(poll, last(list, 16), 3, 0);
	call(poll, last(list, sizeof list), -1, 0);
	call(poll, list, 0x100000000, 0);
	close(empty[1]);
	call(poll, list + 4, 1, 100);
	close(empty[0]);
	(void)!pipe(empty);
	call(ppoll, list, 2, NULL, NULL, 0);
	call(ppoll, list, 2, &soon, NULL, 0);
	call(ppoll, list + 4, 1, &soon, set, 8);
	call(ppoll, list + 4, 1, &none, set, 8);
	call(ppoll, list, 2, &soon, set, 16);
	call(ppoll, list, 2, &wrong, set, 8);
	call(ppoll, list, 2, BAD, BAD, 8);
	call(ppoll, NULL, 0, &none, NULL, 8);
	call(ppoll, NULL, 1, &none, NULL, 8);
	call(ppoll, BAD, 1, &none, set, 8);
	memset(set, 0xff, 8);
	call(ppoll, list, 40, &none, set, 8);
	call(ppoll, last(list, 20), 3, &none, NULL, 8);
	call(ppoll, list, 1, last(&none, 16), set, 4);
}

static void selects(void)
{
	fd_set in, out, odd;
	struct timeval now = {0, 0}, soon = {0, 1000}, wrong = {-1, 5}, plenty = {100, 500000};
	struct timespec none = {0, 0}, wait = {0, 1000000}, bad = {5, 1000000000};
	unsigned long mask = 1 << (SIGUSR1 - 1);
	struct { const void *set; unsigned long size; } sixth = {&mask, 8};
	int most = empty[1] + 1;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&odd);
	call(select, 0, NULL, NULL, NULL, &now);
	call(select, most, &in, &out, &odd, &now);
	FD_SET(ends[0], &in);
	FD_SET(ends[1], &out);
	FD_SET(0, &odd);
	call(select, most, &in, &out, NULL, &plenty);
	FD_SET(empty[0], &in);
	FD_SET(ends[0], &in);
	FD_SET(empty[1], &out);
	call(select, most, &in, &out, NULL, NULL);
	FD_ZERO(&in);
	FD_SET(empty[0], &in);
	call(select, most, &in, NULL, NULL, &soon);
	FD_SET(empty[0], &in);
	FD_SET(700, &in);
	call(select, most, &in, NULL, &odd, &soon);
	FD_SET(700, &in);
	call(select, 1024, &in, NULL, NULL, &now);
	call(select, -1, &in, NULL, NULL, &now);
	call(select, -1, NULL, NULL, NULL, NULL);
	call(select, 5, BAD, &out, NULL, &now);
	call(select, 5, &in, &out, NULL, BAD);
	call(select, 5, &in, &out, NULL, &wrong);
	memset(&in, 0x78, sizeof in);
	plenty.tv_usec = 500000;
	call(select, most, &in, NULL, NULL, &plenty);
	memset(&in, 0x78, sizeof in);
	call(select, 256, &in, NULL, &in, &plenty);
	plenty.tv_usec = 500000;
	memset(room, 0xf0, 64);
	memset(room + 64, 0, 400);
	call(select, 3000, room, NULL, room, &now);
	call(select, 0, &in, &in, &in, &now);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(empty[0], &in);
	FD_SET(ends[1], &out);
	call(select, most, &in, &out, &in, &now);
	FD_ZERO(&in);
	FD_SET(ends[0], &in);
	call(select, 64, last(&in, 8), NULL, NULL, &now);
	call(select, 65, last(&in, 8), NULL, NULL, &now);
	call(select, 3, last(&in, 8), NULL, NULL, &now);
	call(select, 3, last(&in, 4), NULL, NULL, &now);
	FD_SET(ends[0], &in);
	call(pselect6, most, &in, NULL, NULL, NULL, NULL);
	call(pselect6, most, &in, NULL, NULL, &wait, &sixth);
	FD_ZERO(&in);
	FD_SET(empty[0], &in);
	FD_ZERO(&out);
	call(pselect6, most, &in, &out, NULL, &wait, &sixth);
	sixth.set = NULL;
	call(pselect6, most, &in, &out, NULL, &none, &sixth);
	call(pselect6, 0, NULL, NULL, NULL, &none, &sixth);
	sixth.set = &mask;
	sixth.size = 16;
	call(pselect6, 0, NULL, NULL, NULL, &none, &sixth);
	sixth.set = BAD;
	sixth.size = 8;
	call(pselect6, most, &in, &out, NULL, &none, &sixth);
	call(pselect6, 0, NULL, NULL, NULL, &none, BAD);
	call(pselect6, 0, NULL, NULL, NULL, &bad, NULL);
	call(pselect6, 0, NULL, NULL, NULL, BAD, NULL);
	call(pselect6, -1, BAD, BAD, BAD, BAD, BAD);
}

static void epolls(void)
{
	struct epoll_event event = {EPOLLIN, {.u64 = 0x123456789abcdef0}}, found[40];
	struct timespec none = {0, 0}, soon = {0, 1000000}, wrong = {-1, -1};
	unsigned long mask = ~(1UL << (SIGCHLD - 1));
	int many[40];
	int set = call(epoll_create, 1);
	call(epoll_create, 0);
	call(epoll_create, -1);
	close(call(epoll_create1, 0));
	close(call(epoll_create1, EPOLL_CLOEXEC));
	call(epoll_create1, EPOLL_CLOEXEC | 3);
	call(epoll_create1, 1);
	call(epoll_create1, -1);
	call(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &event);
	call(epoll_ctl, set, EPOLL_CTL_ADD, ends[0], &event);
	event.data.fd = ends[1];
	event.events = EPOLLOUT | EPOLLET | EPOLLONESHOT | EPOLLRDHUP;
	call(epoll_ctl, set, EPOLL_CTL_ADD, ends[1], &event);
	event.events = 0;
	event.data.u64 = 0;
	call(epoll_ctl, set, EPOLL_CTL_MOD, ends[1], &event);
	event.events = -1;
	call(epoll_ctl, set, EPOLL_CTL_MOD, ends[1], &event);
	for (unsigned bit = 0; bit < 32; bit++) {
		event.events = 1U << bit;
		call(epoll_ctl, set, EPOLL_CTL_MOD, 77, &event);
	}
	event.events = EPOLLOUT;
	event.data.u64 = -1;
	call(epoll_ctl, set, EPOLL_CTL_MOD, ends[1], &event);
	call(epoll_ctl, set, EPOLL_CTL_ADD, set, &event);
	call(epoll_ctl, set, EPOLL_CTL_ADD, 77, NULL);
	call(epoll_ctl, set, EPOLL_CTL_ADD, -1, BAD);
	call(epoll_ctl, -1, 0, 0, &event);
	call(epoll_ctl, set, 4, 0, &event);
	call(epoll_ctl, set, -1, 0, &event);
	call(epoll_wait, set, found, 2, -1);
	call(epoll_wait, set, found, 1, 0);
	call(epoll_wait, set, found, 10, 100);
	call(epoll_wait, set, BAD, 10, 100);
	call(epoll_wait, set, NULL, 10, 100);
	call(epoll_wait, set, found, 0, 0);
	call(epoll_wait, set, found, -1, 0);
	call(epoll_wait, -1, found, 1, 0);
	for (int i = 0; i < 40; i++) {
		many[i] = dup(ends[1]);
		event.data.fd = i;
		epoll_ctl(set, EPOLL_CTL_ADD, many[i], &event);
	}
	call(epoll_wait, set, found, 40, 0);
	for (int i = 0; i < 40; i++) {
		epoll_ctl(set, EPOLL_CTL_DEL, many[i], NULL);
		close(many[i]);
	}
	call(epoll_pwait, set, found, 2, 0, NULL, 0);
	call(epoll_pwait, set, found, 2, -1, &mask, 8);
	call(epoll_pwait, set, found, 2, -1, &mask, 5);
	call(epoll_pwait, set, found, 2, -1, BAD, 8);
	call(epoll_pwait2, set, found, 2, NULL, NULL, 0);
	call(epoll_pwait2, set, found, 2, &none, &mask, 8);
	call(epoll_pwait2, set, found, 2, &wrong, &mask, 8);
	call(epoll_pwait2, set, found, 2, BAD, BAD, 7);
	call(epoll_ctl, set, EPOLL_CTL_DEL, ends[0], NULL);
	call(epoll_ctl, set, EPOLL_CTL_DEL, ends[1], &event);
	call(epoll_ctl, set, EPOLL_CTL_DEL, ends[1], BAD);
	call(epoll_wait, set, found, 2, 1);
	call(epoll_pwait2, set, found, 2, &soon, &mask, 8);
	close(set);
	set = call(eventfd, 5);
	close(set);
	close(call(eventfd, -1));
	close(call(eventfd2, 1, 0));
	close(call(eventfd2, 0xfffffffe, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
	call(eventfd2, 0, 2);
	call(eventfd2, 0, -1);
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static void futexes(void)
{
	static uint32_t word = 7, other = 9;
	struct timespec soon = {0, 100000}, past = {1, 0}, wrong = {-1, 1000000000};
	call(futex, &word, FUTEX_WAIT, 6, NULL);
	call(futex, &word, FUTEX_WAIT, 7, &soon);
	call(futex, &word, FUTEX_WAIT_PRIVATE, 7, &soon);
	call(futex, &word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, -1, &soon);
	call(futex, &word, FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 6, &wrong);
	call(futex, &word, FUTEX_WAIT, 6, BAD);
	call(futex, BAD, FUTEX_WAIT, 6, &soon);
	call(futex, NULL, FUTEX_WAIT, 0x80000000, &soon);
	call(futex, &word, FUTEX_WAKE, 1);
	call(futex, &word, FUTEX_WAKE_PRIVATE, 0x7fffffff);
	call(futex, &word, FUTEX_WAKE_PRIVATE, 0xffffffff);
	call(futex, &word, FUTEX_WAKE_PRIVATE | FUTEX_CLOCK_REALTIME, 1);
	call(futex, &word, FUTEX_FD, SIGUSR1, 1L, 2L, 3L);
	call(futex, &word, FUTEX_FD | FUTEX_PRIVATE_FLAG, 0, 1L, 2L, 3L);
	call(futex, &word, FUTEX_REQUEUE, 1, 2L, &other, 3L);
	call(futex, &word, FUTEX_REQUEUE_PRIVATE, -1, -1L, &other, 3L);
	call(futex, &word, FUTEX_CMP_REQUEUE, 1, 0x7fffffffL, &other, 7L);
	call(futex, &word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2L, &other, 0xffffffff8UL);
	for (long operation = 0; operation < 16; operation++)
		call(futex, &word, FUTEX_WAKE_OP, 1, 2L, &other, operation << 28 | (operation & 15) << 24 | 0xabc << 12 | 0xdef);
	call(futex, &word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, &other, FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_GT, 1));
	call(futex, &word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, &other, FUTEX_OP((FUTEX_OP_ANDN | FUTEX_OP_OPARG_SHIFT), 31, FUTEX_OP_CMP_LE, 0));
	call(futex, &word, FUTEX_WAKE_OP, -1, -1L, BAD, -1L);
	call(futex, &word, FUTEX_WAKE_OP, 1, 1L, NULL, 0x100000000L);
	word = 0;
	call(futex, &word, FUTEX_LOCK_PI, 5, &past);
	call(futex, &word, FUTEX_LOCK_PI_PRIVATE, 5, &past);
	word = getpid();
	call(futex, &word, FUTEX_UNLOCK_PI, 0);
	word = getpid();
	call(futex, &word, FUTEX_UNLOCK_PI_PRIVATE, 0);
	call(futex, &word, FUTEX_TRYLOCK_PI, 1, 2L, 3L, 4L);
	call(futex, &word, FUTEX_TRYLOCK_PI_PRIVATE, 1, 2L, 3L, 4L);
	call(futex, &word, FUTEX_UNLOCK_PI_PRIVATE, 0);
	word = 7;
	call(futex, &word, FUTEX_WAIT_BITSET, 6, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
	call(futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 7, &past, BAD, 5L);
	call(futex, &word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 7, &past, NULL, -1L);
	call(futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 7, &past, NULL, 0L);
	call(futex, &word, FUTEX_WAKE_BITSET, 1, 2L, 3L, -1L);
	call(futex, &word, FUTEX_WAKE_BITSET_PRIVATE, 1, 2L, 3L, 0xf0L);
	call(futex, &word, FUTEX_WAIT_REQUEUE_PI, 6, &past, &other, 3L);
	call(futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 6, NULL, &other, 3L);
	call(futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE | FUTEX_CLOCK_REALTIME, 6, &past, &other, 3L);
	call(futex, &word, FUTEX_CMP_REQUEUE_PI, 1, 2L, &other, 3L);
	call(futex, &word, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, 2L, &other, -1L);
	word = 0;
	call(futex, &word, FUTEX_LOCK_PI2, 0, &past, 1L, 2L);
	call(futex, &word, FUTEX_UNLOCK_PI, 0);
	call(futex, &word, FUTEX_LOCK_PI2_PRIVATE | FUTEX_CLOCK_REALTIME, 0, NULL);
	call(futex, &word, FUTEX_UNLOCK_PI_PRIVATE, 0);
	call(futex, &word, 14, 1, 2L, 3L, 4L);
	call(futex, &word, 14 | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, 1, 2L, 3L, 4L);
	call(futex, &word, -1L, -1L, 2L, 3L, -1L);
	call(futex, &word, 0x200, 1, &past, 3L, 4L);
	call(futex, &word, 14, 0, NULL, NULL, 0L);
	call(futex, &word, 0x10000, 1, &past, 3L, 4L);

	struct { uint64_t value, address; uint32_t flags, reserved; } waits[140] = {
		{6, (long)&word, 2, 0}, {7, (long)&word, 2 | 128, 5}, {7, 0, 1, 0}, {-1, 0x10, -1, 0},
	};
	call(futex_waitv, waits, 1, 0, NULL, 0);
	call(futex_waitv, waits, 2, 0, &past, CLOCK_MONOTONIC);
	call(futex_waitv, waits, 4, 1, &wrong, CLOCK_REALTIME);
	call(futex_waitv, last(waits, sizeof waits), 150, -1, BAD, 99);
	call(futex_waitv, waits, 0, 0, NULL, 0);
	call(futex_waitv, NULL, 3, 0, NULL, 0);
	call(futex_waitv, BAD, 3, 0, NULL, 0);
	call(futex_waitv, last(waits, 48), 3, 0, NULL, -1);
}

static void sleeps(void)
{
	struct timespec soon = {0, 100000}, none = {0, 0}, wrong = {-1, 1000000000}, left;
	struct itimerval shot = {{0, 0}, {0, 1500}}, off = {{0, 0}, {0, 0}};
	struct timespec more = {1, 0};
	call(nanosleep, &soon, NULL);
	call(nanosleep, &soon, &left);
	call(nanosleep, &none, BAD);
	call(nanosleep, &wrong, &left);
	call(nanosleep, BAD, &left);
	call(nanosleep, NULL, NULL);
	call(clock_nanosleep, CLOCK_REALTIME, 0, &soon, NULL);
	call(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &soon, &left);
	call(clock_nanosleep, CLOCK_BOOTTIME, 2, &none, &left);
	call(clock_nanosleep, CLOCK_MONOTONIC, 1 | 8, &none, &left);
	call(clock_nanosleep, 99, -1, &soon, BAD);
	call(clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, NULL, NULL);
	call(clock_nanosleep, CLOCK_TAI, 0, &wrong, NULL);
	signal(SIGALRM, SIG_IGN);
	struct sigaction quiet = {.sa_handler = (void (*)(int))getpid};
	sigaction(SIGALRM, &quiet, NULL);
	setitimer(ITIMER_REAL, &shot, NULL);
	call(nanosleep, &more, &left);
	setitimer(ITIMER_REAL, &shot, NULL);
	call(clock_nanosleep, CLOCK_MONOTONIC, 0, &more, &left);
	setitimer(ITIMER_REAL, &shot, NULL);
	call(clock_nanosleep, CLOCK_MONOTONIC, 0, &more, NULL);
	setitimer(ITIMER_REAL, &shot, NULL);
	more.tv_sec = 1L << 40;
	call(clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &more, &left);
	setitimer(ITIMER_REAL, &off, NULL);
}

static void clocks(void)
{
	struct timespec time;
	struct timeval second;
	struct timezone zone;
	struct timex adjust;
	struct itimerval timer = {{1, 2}, {1000, 3}}, old, wrong = {{-1, 1000000}, {5, -1}};
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct nothing[2] = {{0, 0, 0}, {0, 0, 0}};
	if (call(capset, &header, nothing))
		return;
	for (long clock = -2; clock < 18; clock++) {
		call(clock_gettime, clock, &time);
		call(clock_getres, clock, &time);
	}
	call(clock_gettime, CLOCK_REALTIME, BAD);
	call(clock_gettime, CLOCK_REALTIME, NULL);
	call(clock_gettime, -6, &time);
	call(clock_gettime, (-2 & ~7) | 2, &time);
	call(clock_gettime, ~1 << 3 | 6, &time);
	call(clock_gettime, ~1L << 3 | 3, &time);
	call(clock_gettime, ~77L << 3 | 5, &time);
	call(clock_gettime, ~77L << 3 | 4, &time);
	call(clock_gettime, ~77L << 3 | 7, &time);
	call(clock_getres, CLOCK_MONOTONIC, NULL);
	call(clock_getres, 0x100000001, BAD);
	time.tv_sec = 5;
	time.tv_nsec = 1000000000; /* which no clock can be set to */
	call(clock_settime, CLOCK_REALTIME, &time);
	call(clock_settime, CLOCK_MONOTONIC, &time);
	call(clock_settime, 77, NULL);
	call(clock_settime, CLOCK_REALTIME, BAD);
	call(gettimeofday, &second, NULL);
	call(gettimeofday, &second, &zone);
	call(gettimeofday, NULL, &zone);
	call(gettimeofday, NULL, NULL);
	call(gettimeofday, BAD, &zone);
	second.tv_usec = -1; /* nor this */
	call(settimeofday, &second, NULL);
	call(settimeofday, &second, &zone);
	zone.tz_minuteswest = 100000;
	zone.tz_dsttime = -1;
	call(settimeofday, NULL, &zone);
	call(settimeofday, BAD, BAD);
	long now;
	call(time, NULL);
	call(time, &now);
	call(time, BAD);
	memset(&adjust, 0, sizeof adjust);
	call(adjtimex, &adjust);
	call(adjtimex, BAD);
	call(adjtimex, NULL);
	adjust.modes = ADJ_OFFSET_SS_READ;
	adjust.status = 0xffff;
	call(adjtimex, &adjust);
	call(clock_adjtime, CLOCK_REALTIME, &adjust);
	adjust.modes = 0;
	call(clock_adjtime, CLOCK_REALTIME, &adjust);
	call(clock_adjtime, CLOCK_MONOTONIC, &adjust);
	call(clock_adjtime, 99, BAD);
	call(clock_adjtime, CLOCK_TAI, NULL);
	call(getitimer, ITIMER_REAL, &old);
	call(getitimer, ITIMER_VIRTUAL, &old);
	call(getitimer, ITIMER_PROF, NULL);
	call(getitimer, 3, &old);
	call(getitimer, -1, BAD);
	call(setitimer, ITIMER_PROF, &timer, NULL);
	call(getitimer, ITIMER_PROF, BAD);
	memset(&timer, 0, sizeof timer);
	call(setitimer, ITIMER_PROF, &timer, NULL);
	call(setitimer, ITIMER_PROF, &timer, &old);
	call(setitimer, ITIMER_PROF, &wrong, &old);
	call(setitimer, ITIMER_PROF, NULL, &old);
	call(setitimer, ITIMER_PROF, BAD, &old);
	call(setitimer, 55, &timer, BAD);
	call(sched_yield, 0);
	call(alarm, 0);
}

static void timers(void)
{
	struct sigevent event;
	struct itimerspec when = {{1, 2}, {1L << 33, 3}}, old, zero = {{0, 0}, {0, 0}}, wrong = {{-1, -1}, {5, 1000000000}};
	int id = -1;
	memset(&event, 0, sizeof event);
	call(timer_create, CLOCK_REALTIME, NULL, &id);
	call(timer_gettime, id, &old);
	call(timer_settime, id, 0, &when, NULL);
	call(timer_settime, id, TIMER_ABSTIME, &when, NULL);
	call(timer_settime, id, 0, &zero, NULL);
	call(timer_settime, id, 0, &zero, &old);
	call(timer_settime, id, 2, &wrong, &old);
	call(timer_settime, id, 1, BAD, BAD);
	call(timer_settime, id, -1, NULL, NULL);
	call(timer_settime, 99, 3, &zero, &old);
	call(timer_gettime, id, BAD);
	call(timer_gettime, -1, NULL);
	call(timer_getoverrun, id);
	call(timer_getoverrun, 99);
	call(timer_delete, id);
	call(timer_delete, -1);
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGRTMIN;
	event.sigev_value.sival_int = -5;
	call(timer_create, CLOCK_MONOTONIC, &event, &id);
	call(timer_delete, id);
	event.sigev_notify = SIGEV_NONE;
	call(timer_create, CLOCK_BOOTTIME, &event, &id);
	call(timer_delete, id);
	event.sigev_notify = SIGEV_THREAD;
	event._sigev_un._sigev_thread._function = BAD;
	call(timer_create, CLOCK_PROCESS_CPUTIME_ID, &event, &id);
	call(timer_delete, id);
	event.sigev_notify = SIGEV_THREAD_ID;
	event._sigev_un._tid = 99999999;
	call(timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &id);
	event.sigev_notify = 5;
	event.sigev_signo = 77;
	call(timer_create, 99, &event, &id);
	call(timer_create, -2, BAD, &id);
	call(timer_create, CLOCK_REALTIME, NULL, BAD);
	call(timer_create, CLOCK_REALTIME, NULL, NULL);

	int fd = call(timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC);
	call(timerfd_gettime, fd, &old);
	call(timerfd_settime, fd, 0, &zero, &old);
	call(timerfd_settime, fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &zero, NULL);
	call(timerfd_settime, fd, TFD_TIMER_ABSTIME, &wrong, &old);
	call(timerfd_settime, fd, 8, &zero, NULL);
	call(timerfd_settime, fd, -1, BAD, BAD);
	call(timerfd_settime, fd, 0, NULL, NULL);
	call(timerfd_settime, -1, 0, &zero, NULL);
	call(timerfd_gettime, fd, BAD);
	call(timerfd_gettime, 0, NULL);
	close(fd);
	call(timerfd_create, CLOCK_THREAD_CPUTIME_ID, 0);
	call(timerfd_create, -1, -1);
	call(timerfd_create, CLOCK_REALTIME, 1);
	close(call(timerfd_create, CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
}

static void requests(void)
{
	aio_context_t context = 0;
	char text[100] = "what is written, and it is longer than thirty two bytes";
	struct iovec parts[2] = {{text, 5}, {text + 5, 60}};
	struct iocb blocks[10], *list[40];
	struct io_event events[40];
	struct timespec soon = {0, 1000000}, wrong = {0, -1};
	unsigned long mask = 1 << (SIGUSR1 - 1);
	struct { const void *set; unsigned long size; } sixth = {&mask, 8};
	int fd = call(memfd_create, "aio", 0);
	memset(blocks, 0, sizeof blocks);
	call(io_setup, 8, BAD);
	call(io_setup, 0, &context);
	call(io_setup, -1, NULL);
	call(io_setup, 8, &context);
	for (int i = 0; i < 40; i++)
		list[i] = &blocks[i % 10];
	for (int i = 0; i < 10; i++) {
		blocks[i].aio_lio_opcode = i;
		blocks[i].aio_fildes = fd;
		blocks[i].aio_data = i * 3;
		blocks[i].aio_buf = i == 5 ? POLLOUT | POLLRDHUP : (long)text;
		blocks[i].aio_nbytes = 8 * i;
		blocks[i].aio_offset = i;
	}
	blocks[1].aio_nbytes = 50;
	blocks[7].aio_buf = blocks[8].aio_buf = (long)parts;
	blocks[7].aio_nbytes = blocks[8].aio_nbytes = 2;
	call(io_submit, context, 1, list + 1);
	call(io_submit, context, 1, list);
	for (int i = 2; i < 10; i++)
		call(io_submit, context, 1, list + i);
	blocks[5].aio_buf = POLLIN;
	blocks[5].aio_fildes = empty[0];
	call(io_submit, context, 1, list + 5);
	call(io_cancel, context, &blocks[5], events);
	call(io_cancel, context, &blocks[1], events);
	call(io_cancel, context, BAD, BAD);
	call(io_cancel, 0, NULL, NULL);
	call(io_submit, context, 2, list);
	call(io_getevents, context, 1, 10, events, NULL);
	blocks[1].aio_flags = IOCB_FLAG_RESFD;
	blocks[1].aio_resfd = 77;
	blocks[1].aio_rw_flags = 3;
	blocks[1].aio_key = 5;
	blocks[1].aio_reqprio = -9;
	blocks[1].aio_reserved2 = 5;
	call(io_submit, context, 1, list + 1);
	blocks[1].aio_flags = IOCB_FLAG_IOPRIO;
	blocks[1].aio_reqprio = 2 << 13 | 3;
	call(io_submit, context, 1, list + 1);
	blocks[1].aio_reqprio = 0;
	call(io_submit, context, 1, list + 1);
	blocks[1].aio_flags = -1;
	call(io_submit, context, 1, list + 1);
	blocks[0].aio_flags = 1;
	blocks[0].aio_resfd = 3;
	blocks[0].aio_rw_flags = 0x8000001f;
	blocks[0].aio_reqprio = 5;
	blocks[0].aio_lio_opcode = 99;
	call(io_submit, context, 1, list);
	blocks[0].aio_lio_opcode = 0;
	blocks[0].aio_buf = 0;
	call(io_submit, context, 1, list);
	list[0] = BAD;
	call(io_submit, context, 1, list);
	list[0] = NULL;
	call(io_submit, context, 3, list);
	call(io_submit, context, 0, NULL);
	call(io_submit, context, 0, list);
	call(io_submit, context, -1L, list);
	call(io_submit, context, 1, BAD);
	call(io_submit, 0, 2, last(list + 9, 8));
	call(io_submit, 0, 40, list);
	call(io_getevents, context, 0, 10, events, NULL);
	call(io_getevents, context, 0, 10, events, &soon);
	call(io_getevents, context, 0, 1, events, &wrong);
	call(io_getevents, context, 5, 1, BAD, BAD); /* more than there may be */
	call(io_getevents, 0, -1L, -1L, NULL, NULL);
	call(io_pgetevents, context, 0, 5, events, NULL, NULL);
	call(io_pgetevents, context, 0, 5, events, &soon, &sixth);
	sixth.size = 3;
	call(io_pgetevents, context, 1, 5, events, &soon, &sixth);
	sixth.set = NULL;
	call(io_pgetevents, context, 0, 5, events, &soon, &sixth);
	call(io_pgetevents, context, 1, 5, events, &soon, BAD);
	call(io_destroy, context);
	call(io_destroy, context);
	call(io_destroy, NULL);
	close(fd);
}

static void rings(void)
{
	struct io_uring_params params;
	struct io_uring_probe *probe = (void *)room;
	unsigned long mask = 1 << (SIGUSR1 - 1);
	struct __kernel_timespec soon = {0, 1000};
	struct io_uring_getevents_arg wait = {(long)&mask, 8, 0, (long)&soon};
	struct iovec buffers[2] = {{room, PAGE}, {room + PAGE, 100}};
	int files[40], fd;
	memset(&params, 0, sizeof params);
	int ring = call(io_uring_setup, 4, &params);
	params.flags = 0x80000fff; /* all that strace 6.1 knows, and one bit more */
	params.wq_fd = 5;
	call(io_uring_setup, -1, &params);
	params.flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQSIZE | IORING_SETUP_ATTACH_WQ;
	params.features = -1;
	params.resv[1] = 7;
	call(io_uring_setup, 4, &params);
	params.flags = 0;
	call(io_uring_setup, 4, &params);
	call(io_uring_setup, 0, NULL);
	call(io_uring_setup, 4, BAD);
	memset(&params, 0, sizeof params);
	params.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
	params.cq_entries = 8;
	int off = call(io_uring_setup, 4, &params);
	call(io_uring_enter, ring, 0, 0, 0, NULL, 0);
	call(io_uring_enter, ring, 1, 2, 0x8000, &mask, 8);
	call(io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &wait, sizeof wait);
	call(io_uring_enter, ring, 0, 0, IORING_ENTER_GETEVENTS, &mask, 8);
	call(io_uring_enter, ring, -1, -1, 0x8000001f, BAD, -1L);
	call(io_uring_enter, 99, 0, 0, IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT, BAD, 8L);
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS, buffers, 2);
	call(io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	for (int i = 0; i < 40; i++)
		files[i] = i % 3 ? -1 : ends[0];
	files[5] = -2;
	call(io_uring_register, ring, IORING_REGISTER_FILES, files, 3);
	call(io_uring_register, ring, IORING_REGISTER_FILES, files, 40);
	struct io_uring_files_update update = {1, 0, (long)files};
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE, &update, 2);
	update.resv = 7;
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE, &update, 2);
	update.fds = 0x10;
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE, &update, 2);
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE, BAD, 2);
	update.fds = (long)(files + 4);
	update.resv = 0;
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE, &update, 2);
	call(io_uring_register, ring, IORING_UNREGISTER_FILES, NULL, 0);
	fd = eventfd(0, 0);
	call(io_uring_register, ring, IORING_REGISTER_EVENTFD, &fd, 1);
	call(io_uring_register, ring, IORING_UNREGISTER_EVENTFD, NULL, 0);
	call(io_uring_register, ring, IORING_REGISTER_EVENTFD_ASYNC, &fd, 1);
	call(io_uring_register, ring, IORING_REGISTER_EVENTFD_ASYNC, BAD, 1);
	call(io_uring_register, ring, IORING_REGISTER_EVENTFD, &fd, 2);
	memset(room, 0, 2 * PAGE);
	call(io_uring_register, ring, IORING_REGISTER_PROBE, probe, 2);
	probe->last_op = 3;
	call(io_uring_register, ring, IORING_REGISTER_PROBE, probe, 48);
	probe->resv = 3;
	probe->resv2[1] = 4;
	probe->ops[1].resv = 5;
	probe->ops[1].resv2 = 6;
	probe->ops[1].flags = 6;
	probe->ops[0].op = 0xff;
	call(io_uring_register, ring, IORING_REGISTER_PROBE, probe, 2);
	call(io_uring_register, ring, IORING_REGISTER_PROBE, BAD, 2);
	call(io_uring_register, ring, IORING_REGISTER_PERSONALITY, NULL, 0);
	call(io_uring_register, ring, IORING_REGISTER_PERSONALITY, BAD, 5);
	call(io_uring_register, ring, IORING_UNREGISTER_PERSONALITY, NULL, 1);
	call(io_uring_register, ring, IORING_UNREGISTER_PERSONALITY, NULL, -1);
	struct io_uring_restriction limits[6];
	memset(limits, 0, sizeof limits);
	for (int i = 0; i < 6; i++) {
		limits[i].opcode = i;
		limits[i].sqe_op = 5;
	}
	limits[5].resv = 7;
	limits[5].resv2[1] = 9;
	call(io_uring_register, off, IORING_REGISTER_RESTRICTIONS, limits, 6);
	call(io_uring_register, off, IORING_REGISTER_RESTRICTIONS, limits, 4);
	call(io_uring_register, off, IORING_REGISTER_RESTRICTIONS, NULL, 4);
	call(io_uring_register, off, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	call(io_uring_register, ring, IORING_REGISTER_ENABLE_RINGS, BAD, 1);
	unsigned long tags[2] = {1, 2};
	struct io_uring_rsrc_register resources = {2, 0, 0, (long)files, (long)tags};
	call(io_uring_register, ring, IORING_REGISTER_FILES2, &resources, sizeof resources);
	resources.data = (long)buffers;
	resources.flags = 3;
	resources.resv2 = 5;
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS2, &resources, sizeof resources);
	resources.flags = IORING_RSRC_REGISTER_SPARSE;
	resources.resv2 = 0;
	resources.data = 0;
	resources.tags = 0;
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS2, &resources, sizeof resources);
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS2, &resources, 5);
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS2, BAD, 32);
	struct io_uring_rsrc_update2 change = {1, 0, (long)files, (long)tags, 1, 0};
	call(io_uring_register, ring, IORING_REGISTER_FILES_UPDATE2, &change, sizeof change);
	change.resv2 = 3;
	change.resv = 4;
	change.data = (long)buffers;
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS_UPDATE, &change, sizeof change);
	call(io_uring_register, ring, IORING_REGISTER_BUFFERS_UPDATE, &change, 8);
	call(io_uring_register, ring, IORING_REGISTER_IOWQ_AFF, &mask, 8);
	call(io_uring_register, ring, IORING_REGISTER_IOWQ_AFF, BAD, 8);
	call(io_uring_register, ring, IORING_UNREGISTER_IOWQ_AFF, NULL, 0);
	unsigned workers[2] = {1, 2};
	call(io_uring_register, ring, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2);
	call(io_uring_register, ring, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 3);
	call(io_uring_register, ring, IORING_REGISTER_IOWQ_MAX_WORKERS, BAD, 2);
	struct io_uring_rsrc_update own[2] = {{-1, 0, ring}, {0, 3, ring}};
	call(io_uring_register, ring, IORING_REGISTER_RING_FDS, own, 1);
	call(io_uring_register, ring, IORING_UNREGISTER_RING_FDS, own, 1);
	call(io_uring_register, ring, IORING_REGISTER_RING_FDS, own, 2);
	call(io_uring_register, ring, IORING_UNREGISTER_RING_FDS, own, 2);
	call(io_uring_register, ring, IORING_UNREGISTER_RING_FDS, BAD, 2);
	struct io_uring_buf_reg provided = {(long)room, 4, 1, 0, {0}};
	call(io_uring_register, ring, IORING_REGISTER_PBUF_RING, &provided, 1);
	call(io_uring_register, ring, IORING_UNREGISTER_PBUF_RING, &provided, 1);
	provided.pad = 5;
	provided.resv[1] = 6;
	call(io_uring_register, ring, IORING_REGISTER_PBUF_RING, &provided, 1);
	call(io_uring_register, ring, IORING_UNREGISTER_PBUF_RING, &provided, 1);
	call(io_uring_register, ring, IORING_REGISTER_PBUF_RING, BAD, 1);
	call(io_uring_register, ring, 200, BAD, 1);
	call(io_uring_register, -1, -1, NULL, -1);
	close(fd);
	close(off);
	close(ring);
}

int main(void)
{
	room = mmap((void *)0x100000000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (pipe(ends) || pipe(empty) || write(ends[1], "x", 1) != 1)
		return 1;
	polls();
	selects();
	epolls();
	futexes();
	sleeps();
	clocks();
	timers();
	requests();
	rings();
	return 0;
}
