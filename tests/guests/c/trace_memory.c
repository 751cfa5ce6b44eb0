/* trace_memory: the calls that are about memory, and System V and POSIX ipc, in many shapes.

   What it makes it removes.  Where it may, it gets an ipc namespace of its own, so that ids start at 0. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

#define BAD ((void *)0x10)
#define call(name, ...) syscall(SYS_##name, __VA_ARGS__)
#define PAGE 4096L

static char *room; /* two pages and a hole behind them */

/* An array whose end is the end of memory. */
static void *last(const void *data, unsigned long size)
{
	return memcpy(room + 2 * PAGE - size, data, size);
}

static void maps(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	char *map = (char *)call(mmap, NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	call(mmap, map, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	call(mmap, map, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE);
	call(mmap, map, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
	call(mmap, map, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE | MAP_NORESERVE | MAP_STACK | MAP_ANONYMOUS, 7, 5);
	call(mmap, NULL, 0, ~0L, ~0L, -1, -1L);
	call(mmap, NULL, 0, 0xff0000ff0UL, 0, fd, 0x123456789000L);
	for (unsigned bit = 0; bit < 32; bit++)
		if (bit != 3) /* MAP_DROPPABLE is newer than strace 6.1 */
			call(mmap, NULL, 0, 0, 1UL << bit, -1, 0);
	for (unsigned type = 0; type < 8; type++)
		call(mmap, NULL, 0, 1UL << type, type, -1, 0);
	call(mmap, NULL, 0, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
	call(mmap, NULL, 0, PROT_READ, MAP_SHARED_VALIDATE | MAP_HUGETLB | 21 << 26, fd, 0);
	call(mmap, NULL, 0, PROT_READ, MAP_PRIVATE | 30U << 26, fd, 0);
	call(mmap, NULL, 0, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP, MAP_PRIVATE | 1U << 31, fd, 0);
	call(mmap, NULL, 0, PROT_READ, 0x100000000UL | MAP_PRIVATE, 0x100000003UL, 0);
	call(mprotect, map, PAGE, PROT_NONE);
	call(mprotect, map, PAGE, PROT_READ | PROT_WRITE);
	call(mprotect, map, 2 * PAGE, PROT_READ | PROT_WRITE | 8);
	call(mprotect, BAD, PAGE, 0x12345678L);
	call(mprotect, BAD, PAGE, ~0L);
	call(mprotect, NULL, -1L, 0xf0L);
	call(mremap, map + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	call(mremap, map, PAGE, 1, 0);
	call(mremap, map, 2 * PAGE, PAGE, 0, 1);
	call(mremap, BAD, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, BAD);
	call(mremap, BAD, PAGE, PAGE, MREMAP_FIXED, NULL);
	call(mremap, BAD, PAGE, PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, map);
	call(mremap, BAD, PAGE, PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE | MREMAP_FIXED, map);
	call(mremap, NULL, 0, 0, 8);
	call(mremap, NULL, 0, 0, 0x123456789L, BAD);
	call(msync, map, PAGE, MS_SYNC);
	call(msync, map, PAGE, MS_ASYNC | MS_INVALIDATE);
	call(msync, map, PAGE, 0);
	call(msync, BAD, 0, ~0L);
	call(msync, NULL, 0, 8);
	for (int advice = 0; advice < 27; advice++)
		if (advice != MADV_REMOVE)
			call(madvise, BAD, PAGE, advice);
	call(madvise, BAD, PAGE, 100);
	call(madvise, BAD, PAGE, 101);
	call(madvise, BAD, PAGE, 99);
	call(madvise, map, PAGE, -1L);
	call(madvise, map, PAGE, MADV_DONTNEED);
	call(mlock, map, PAGE);
	call(mlock, BAD, -1L);
	call(mlock2, map, PAGE, 0);
	call(mlock2, map, PAGE, 1);
	call(mlock2, map, PAGE, ~0L);
	call(mlock2, NULL, 0, 6);
	call(munlock, map, PAGE);
	call(munlock, NULL, 0);
	call(mlockall, 0);
	call(mlockall, 8L);
	call(mlockall, MCL_ONFAULT | 16);
	call(mlockall, ~0L);
	call(mlockall, MCL_CURRENT | MCL_ONFAULT);
	call(munlockall, 0);
	unsigned char core[200];
	call(mincore, map, PAGE, core);
	call(mincore, map, 1, BAD);
	call(mincore, map, 1, NULL);
	call(mincore, BAD, PAGE, core);
	char *large = (char *)call(mmap, NULL, 100 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	call(madvise, large, 16 * PAGE, MADV_REMOVE);
	call(mincore, large, 32 * PAGE, core);
	call(mincore, large, 33 * PAGE, core);
	call(mincore, large, 4 * PAGE + 1, core);
	call(mincore, large, 100 * PAGE, core);
	call(mincore, large, 0, core);
	call(remap_file_pages, map, PAGE, 0, 0, 0);
	call(remap_file_pages, large, PAGE, 0, 1, 0);
	call(remap_file_pages, NULL, 0, PROT_READ, 99, MAP_NONBLOCK | MAP_SHARED);
	call(remap_file_pages, NULL, 0, ~0L, -1L, ~0L);
	call(munmap, large, 100 * PAGE);
	call(munmap, NULL, -1L);
	call(munmap, BAD, 5);
	call(munmap, map, PAGE);
	char *end = (char *)call(brk, NULL);
	call(brk, end + PAGE);
	call(brk, end);
	call(brk, BAD);
	int key = call(pkey_alloc, 0, 0);
	call(pkey_alloc, 1, 1);
	call(pkey_alloc, 0, 4);
	call(pkey_alloc, 0x100000000L, 3);
	call(pkey_alloc, -1L, -1L);
	call(pkey_mprotect, room, PAGE, PROT_READ | PROT_WRITE, -1);
	call(pkey_mprotect, BAD, PAGE, PROT_READ, key);
	call(pkey_mprotect, NULL, 0, -1L, 77);
	call(pkey_free, key);
	call(pkey_free, -1);
	call(userfaultfd, 0xffffffff);
	call(userfaultfd, 8);
	call(userfaultfd, O_CLOEXEC | O_NONBLOCK | 2);
	int fault = call(userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fault >= 0)
		close(fault);
	fault = call(memfd_create, "a", 0);
	close(fault);
	close(fd);
}

static void policies(void)
{
	unsigned long nodes[20] = {1};
	unsigned long wide[64];
	int mode = 5;
	memset(wide, 0x55, sizeof wide);
	call(get_mempolicy, &mode, nodes, 64, NULL, 0);
	call(get_mempolicy, &mode, nodes, 1024, NULL, 0);
	call(get_mempolicy, &mode, NULL, 0, NULL, 0);
	call(get_mempolicy, NULL, nodes, 1024, NULL, 4);
	call(get_mempolicy, &mode, nodes, 1024, room, 2);
	call(get_mempolicy, &mode, NULL, 0, room, 3);
	call(get_mempolicy, &mode, nodes, 3, NULL, 8);
	call(get_mempolicy, BAD, BAD, 1, BAD, -1L);
	call(get_mempolicy, NULL, NULL, 0, BAD, 0);
	for (unsigned long policy = 0; policy < 6; policy++)
		call(mbind, BAD, PAGE, policy, nodes, 64, 0);
	call(mbind, BAD, PAGE, 7, nodes, 64, 0);
	call(mbind, room, PAGE, 2, nodes, 65, 1);
	call(mbind, room, PAGE, 1 | 1 << 15, nodes, 64, 2);
	call(mbind, room, PAGE, 3 | 1 << 14, nodes, 64, 4);
	call(mbind, room, PAGE, 3 | 1 << 13, nodes, 64, 7);
	call(mbind, BAD, PAGE, 9 | 7 << 13, wide, 130, ~0L);
	call(mbind, BAD, PAGE, ~0L, wide, 64 * 64, 0x18);
	call(mbind, BAD, PAGE, 0x100000001, wide, 64 * 64, 0);
	call(mbind, NULL, 0, 0, NULL, 0, 0);
	call(mbind, NULL, 0, 0, BAD, 5, 8);
	call(mbind, NULL, 0, 0, last(wide, 16), 130, 16);
	call(mbind, NULL, 0, 0, wide, 0, 0x100000010);
	call(mbind, NULL, 0, 0, wide, 1, 0);
	call(mbind, NULL, 0, 0, wide, 2, 0);
	call(mbind, NULL, 0, 0, wide, -1L, 0);
	for (long bits = 60; bits < 68; bits++)
		call(mbind, NULL, 0, 0, wide, bits, 0);
	call(mbind, NULL, 0, 0, last(wide, 512), (1L << 40) + 1, 0);
	call(mbind, NULL, 0, 0, wide, -62L, 0);
	call(mbind, NULL, 0, 0, last(wide, sizeof wide), -63L, 0);
	call(set_mempolicy, 0, NULL, 0);
	call(set_mempolicy, 4, NULL, 0);
	call(set_mempolicy, 2 | 1 << 15, nodes, 64);
	call(set_mempolicy, 3, nodes, 2);
	call(set_mempolicy, 99, BAD, 64);
	call(set_mempolicy, -1, wide, 1024);
	call(set_mempolicy, 0, NULL, 0);
	call(migrate_pages, 0, 64, nodes, nodes);
	call(migrate_pages, -1, 0, NULL, BAD);
	call(migrate_pages, 99999999, 1024, wide, wide);
	void *pages[40];
	int where[40];
	int status[40];
	for (int i = 0; i < 40; i++) {
		pages[i] = i % 3 ? room : (void *)((long)BAD * i);
		where[i] = i % 5 - 1;
		status[i] = 0;
	}
	call(move_pages, 0, 3, pages, NULL, status, 0);
	call(move_pages, 0, 2, pages + 1, where + 1, status, 2);
	call(move_pages, 0, 40, pages, where, status, 6);
	call(move_pages, 0, 40, pages, NULL, status, 0);
	call(move_pages, 0, 32, pages, NULL, status, 0);
	call(move_pages, 0, 0, pages, where, status, 4);
	call(move_pages, 0, 0, NULL, NULL, NULL, 1);
	call(move_pages, -1, 2, BAD, BAD, BAD, 8);
	call(move_pages, 0, 3, last(pages, 16), NULL, status, 0);
	call(move_pages, 0, 3, pages, last(where, 8), status, 0);
	call(move_pages, 0, 3, pages, NULL, last(status, 8), 0);
	call(move_pages, 0, 1, pages, NULL, BAD, 0);
	call(set_mempolicy_home_node, room, PAGE, 0, 0);
	call(set_mempolicy_home_node, BAD, PAGE, 1, 2);
}

static void shared(void)
{
	int id = call(shmget, IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	call(shmget, IPC_PRIVATE, 0, 0);
	call(shmget, 0x12345678, PAGE, 0777);
	call(shmget, 0x12345678, 0, IPC_CREAT | IPC_EXCL | SHM_HUGETLB | SHM_NORESERVE | 0644);
	call(shmget, 0x12345678, 0, SHM_HUGETLB | 21 << 26 | 04000 | IPC_CREAT);
	call(shmget, -1, -1L, -1L);
	call(shmget, 0xfff00000, PAGE, 0x10000);
	call(shmget, 5, PAGE, IPC_NOWAIT);
	char *map = (char *)call(shmat, id, NULL, 0);
	struct shmid_ds state;
	struct shminfo info;
	call(shmctl, id, IPC_STAT, &state);
	call(shmctl, id, IPC_STAT | 0x100, &state);
	call(shmctl, id, IPC_STAT, BAD);
	call(shmctl, id, IPC_STAT, NULL);
	call(shmctl, -1, IPC_STAT, &state);
	state.shm_perm.mode = 0640;
	call(shmctl, id, IPC_SET, &state);
	call(shmctl, -5L, IPC_SET, &state);
	call(shmctl, id, IPC_SET, BAD);
	call(shmctl, id, IPC_SET, NULL);
	call(shmctl, 0, IPC_INFO, &info);
	call(shmctl, 0, IPC_INFO, BAD);
	call(shmctl, 0, SHM_INFO, &info);
	call(shmctl, 0, SHM_INFO, BAD);
	call(shmctl, 0, SHM_STAT, &state);
	call(shmctl, 0, 15, &state);
	call(shmctl, 99, SHM_STAT, &state);
	call(shmctl, id, SHM_LOCK, NULL);
	call(shmctl, id, SHM_UNLOCK, NULL);
	call(shmctl, id, SHM_LOCK, &state);
	call(shmctl, id, 77, &state);
	call(shmctl, id, -1L, NULL);
	call(shmat, id, BAD, SHM_RDONLY);
	call(shmat, id, BAD, SHM_RDONLY | SHM_RND | SHM_REMAP | SHM_EXEC);
	call(shmat, -1, NULL, -1L);
	call(shmat, -1, NULL, 0x10);
	call(shmctl, id, IPC_RMID, NULL);
	call(shmctl, -1, IPC_RMID | 0x100, BAD);
	call(shmdt, map);
	call(shmdt, NULL);
	call(shmdt, BAD);
}

static void semaphores(void)
{
	int id = call(semget, IPC_PRIVATE, 3, 0600 | IPC_CREAT);
	unsigned short values[40] = {1, 2, 3};
	struct semid_ds state;
	struct seminfo info;
	struct sembuf operations[40];
	struct timespec soon = {0, 1000000}, wrong = {1, -1};
	call(semget, 0x1234, 0, 0);
	call(semget, -1, -1, -1);
	call(semctl, id, 0, SETALL, values);
	call(semctl, id, 1, GETALL, values);
	call(semctl, id, 1, SETVAL, 7);
	call(semctl, id, 1, SETVAL | 0x100, 0x100000007);
	call(semctl, id, 1, GETVAL, 0);
	call(semctl, id, 1, GETPID, 0x1234);
	call(semctl, id, 1, GETNCNT, 0);
	call(semctl, id, 1, GETZCNT, 0);
	call(semctl, id, -1, GETVAL, 0);
	call(semctl, id, 0, IPC_STAT, &state);
	call(semctl, id, 0, IPC_STAT, BAD);
	call(semctl, id, 0, IPC_SET, &state);
	call(semctl, id, 0, IPC_SET, NULL);
	call(semctl, 0, 0, IPC_INFO, &info);
	call(semctl, 0, 0, SEM_INFO, &info);
	call(semctl, 0, 0, SEM_STAT, &state);
	call(semctl, 0, 0, 20, &state);
	call(semctl, 9, 0, SEM_STAT, &state);
	call(semctl, 0, 0, SEM_INFO, BAD);
	call(semctl, id, 0, 77, BAD);
	call(semctl, id, 0, -1, NULL);
	for (int i = 0; i < 40; i++) {
		operations[i].sem_num = i % 3;
		operations[i].sem_op = i % 2 ? -1 : 1;
		operations[i].sem_flg = 0;
	}
	call(semop, id, operations, 1);
	call(semop, id, operations, 2);
	call(semop, id, operations, 33);
	operations[0].sem_num = 1;
	operations[0].sem_op = -100;
	operations[0].sem_flg = IPC_NOWAIT;
	call(semop, id, operations, 1);
	operations[0].sem_flg = IPC_NOWAIT | SEM_UNDO | 1;
	call(semop, id, operations, 1);
	operations[0].sem_flg = 5;
	operations[0].sem_num = 0xffff;
	call(semop, id, operations, 1);
	call(semop, id, NULL, 1);
	call(semop, id, operations, 0);
	call(semop, id, BAD, 1);
	call(semop, id, last(operations, 12), 3);
	call(semop, -1, last(operations, sizeof operations), -1L);
	operations[0].sem_num = 0;
	operations[0].sem_flg = 0;
	call(semtimedop, id, operations, 1, &soon);
	call(semtimedop, id, operations, 1, &wrong);
	call(semtimedop, id, operations, 1, BAD);
	call(semtimedop, id, operations + 2, 1, NULL);
	call(semtimedop, id, NULL, 0, &soon);
	call(semctl, id, 0, IPC_RMID, 0);
	call(semctl, id, 0, IPC_RMID, BAD);
}

static void messages(void)
{
	struct { long type; char text[100]; } message = {5, "a \"message\" that is rather longer than what is shown"};
	struct msqid_ds state;
	struct msginfo info;
	int id = call(msgget, IPC_PRIVATE, 0666);
	call(msgget, 0x777, 0);
	call(msgget, 0x777, IPC_EXCL);
	call(msgget, -1, 0x1ff & ~0x200);
	call(msgsnd, id, &message, 10, 0);
	call(msgsnd, id, &message, 60, IPC_NOWAIT);
	call(msgsnd, id, &message, 0, IPC_NOWAIT | MSG_NOERROR);
	call(msgsnd, id, &message, -1L, 0);
	call(msgsnd, id, BAD, 10, -1L);
	call(msgsnd, id, NULL, 10, 0x4567);
	call(msgsnd, id, last(&message, 8), 5, 0);
	message.type = -5;
	call(msgsnd, id, &message, 5, 0);
	call(msgctl, id, IPC_STAT, &state);
	call(msgctl, id, IPC_STAT | 0x100, &state);
	call(msgctl, id, IPC_STAT, BAD);
	call(msgctl, id, IPC_SET, &state);
	call(msgctl, id, IPC_SET, NULL);
	call(msgctl, 0, IPC_INFO, &info);
	call(msgctl, 0, MSG_INFO, &info);
	call(msgctl, 0, MSG_STAT, &state);
	call(msgctl, 0, 13, &state);
	call(msgctl, -1, MSG_STAT, &state);
	call(msgctl, 0, MSG_INFO, BAD);
	call(msgctl, id, 77, BAD);
	call(msgctl, id, -1, NULL);
	call(msgrcv, id, &message, 100, 0, 0);
	call(msgrcv, id, &message, 4, 5L, IPC_NOWAIT);
	call(msgrcv, id, &message, 4, 5, IPC_NOWAIT | MSG_NOERROR);
	call(msgrcv, id, &message, 100, -5L, MSG_NOERROR);
	call(msgrcv, id, &message, 100, -5L, IPC_NOWAIT | MSG_EXCEPT);
	call(msgrcv, id, &message, 100, 0, IPC_NOWAIT | MSG_COPY);
	call(msgrcv, id, BAD, 100, 0, IPC_NOWAIT);
	call(msgrcv, -1, NULL, -1L, -1L, -1L);
	call(msgrcv, id, NULL, 100, 0, 0x5000 | IPC_NOWAIT);
	call(msgctl, id, IPC_RMID, NULL);
	call(msgctl, id, IPC_RMID, BAD);
}

static void queues(void)
{
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64}, old;
	struct timespec past = {1, 500}, wrong = {-1, 2000000000};
	char text[100] = "hello, \1world\n and more than thirty two bytes";
	unsigned priority;
	char longname[300];
	memset(longname, 'n', 299);
	longname[299] = 0;
	int id = call(mq_open, "int80-trace", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	call(mq_open, "int80-absent", O_RDONLY);
	call(mq_open, "int80-absent", O_WRONLY | O_CLOEXEC, 0644, BAD);
	call(mq_open, "/slash", O_RDWR | O_CREAT, 0644, NULL);
	call(mq_open, "", O_RDWR | O_CREAT, 0644, BAD);
	call(mq_open, NULL, -1L, -1L, NULL);
	call(mq_open, BAD, 3, 0, NULL);
	call(mq_open, longname, O_CREAT, 01777, &attr);
	attr.mq_msgsize = -1;
	attr.mq_flags = O_NONBLOCK | O_APPEND;
	attr.mq_curmsgs = 9;
	call(mq_open, "int80-odd", O_CREAT, 0, &attr);
	call(mq_timedsend, id, text, 5, 1, NULL);
	call(mq_timedsend, id, text, 50, 31, &past);
	call(mq_timedsend, id, text, 64, 32768, &past);
	call(mq_timedsend, id, text, 65, -1, NULL);
	call(mq_timedsend, id, BAD, 5, 0, BAD);
	call(mq_timedsend, id, text, 0, 0, &wrong);
	call(mq_timedsend, -1, NULL, -1L, 0, NULL);
	call(mq_getsetattr, id, NULL, &old);
	attr.mq_flags = 0;
	call(mq_getsetattr, id, &attr, &old);
	attr.mq_flags = O_NONBLOCK;
	call(mq_getsetattr, id, &attr, NULL);
	call(mq_getsetattr, id, BAD, BAD);
	call(mq_getsetattr, id, NULL, BAD);
	call(mq_getsetattr, -1, &attr, &old);
	attr.mq_flags = -1;
	call(mq_getsetattr, id, &attr, &old);
	call(mq_timedreceive, id, text, 64, &priority, NULL);
	call(mq_timedreceive, id, text, 64, NULL, &past);
	call(mq_timedreceive, id, text, 5, &priority, &past);
	call(mq_timedreceive, id, text, 64, &priority, &wrong);
	call(mq_timedreceive, id, text, 64, BAD, &past);
	call(mq_timedreceive, id, NULL, 64, BAD, BAD);
	struct sigevent event;
	memset(&event, 0, sizeof event);
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGUSR1;
	event.sigev_value.sival_int = 77;
	call(mq_notify, id, &event);
	call(mq_notify, id, NULL);
	event.sigev_value.sival_ptr = (void *)0xffff12345678;
	event.sigev_signo = 35;
	call(mq_notify, id, &event);
	call(mq_notify, id, NULL);
	event.sigev_notify = SIGEV_NONE;
	event.sigev_signo = 0;
	call(mq_notify, id, &event);
	call(mq_notify, id, NULL);
	event.sigev_notify = SIGEV_THREAD;
	call(mq_notify, id, &event);
	event.sigev_value.sival_ptr = room + 0x123;
	event.sigev_signo = 3;
	call(mq_notify, id, &event);
	event.sigev_notify = SIGEV_THREAD_ID;
	event._sigev_un._tid = getpid();
	call(mq_notify, id, &event);
	event.sigev_notify = 77;
	event.sigev_signo = 99;
	call(mq_notify, id, &event);
	event.sigev_notify = -1;
	call(mq_notify, id, &event);
	call(mq_notify, -1, BAD);
	call(mq_notify, -1, NULL);
	close(id);
	call(mq_unlink, "int80-trace");
	call(mq_unlink, "int80-odd");
	call(mq_unlink, longname);
	call(mq_unlink, NULL);
	call(mq_unlink, BAD);
}

int main(void)
{
	room = mmap((void *)0x100000000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (unshare(CLONE_NEWIPC) && errno == EPERM)
		unshare(CLONE_NEWUSER | CLONE_NEWIPC);
	maps();
	policies();
	shared();
	semaphores();
	messages();
	queues();
	return 0;
}
