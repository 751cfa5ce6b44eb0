/* System V and POSIX objects between processes; prints what comes of each call. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY 0x1580
static void say(const char *what, long value)
{
    printf("%s %s\n", what, value < 0 ? strerror(errno) : value ? "more" : "0");
    fflush(stdout);
}

/* Who made, used and set things, and how much there is; of processes that other processes' objects do not show. */
static void told(void)
{
    int shm = shmget(IPC_PRIVATE, 5000, 0600), sem = semget(IPC_PRIVATE, 3, 0600), queue = msgget(IPC_PRIVATE, 0600), status;
    struct shmid_ds segment;
    struct msqid_ds queue_status;
    struct { long type; char text[200]; } message = { 1, "" };
    unsigned short values[3] = { 1, 2, 3 };

    shmctl(shm, IPC_STAT, &segment);
    printf("made by me %d, attached by %d at %ld\n", segment.shm_cpid == getpid(), segment.shm_lpid, (long)segment.shm_atime);
    if (!fork()) {
        shmdt(shmat(shm, NULL, 0));
        semctl(sem, 1, SETVAL, 4);
        shmctl(shm, IPC_STAT, &segment);
        printf("used by me %d %d, set by me %d\n", segment.shm_lpid == getpid(), segment.shm_dtime != 0,
               semctl(sem, 1, GETPID) == getpid());
        _exit(0);
    }
    wait(&status);
    printf("not by me %d\n", semctl(sem, 1, GETPID) == getpid());
    say("SETALL", semctl(sem, 0, SETALL, values));
    printf("set by me %d %d\n", semctl(sem, 1, GETPID) == getpid(), semctl(sem, 2, GETPID) == getpid());
    say("SHM_LOCK", shmctl(shm, SHM_LOCK, NULL));
    shmctl(shm, IPC_STAT, &segment);
    printf("%o\n", segment.shm_perm.mode);
    say("SHM_UNLOCK", shmctl(shm, SHM_UNLOCK, NULL));
    msgctl(queue, IPC_STAT, &queue_status);
    queue_status.msg_qbytes = 100;
    say("smaller", msgctl(queue, IPC_SET, &queue_status));
    say("too much", msgsnd(queue, &message, 101, IPC_NOWAIT));
    say("enough", msgsnd(queue, &message, 100, IPC_NOWAIT));
    shmctl(shm, IPC_RMID, NULL);
    semctl(sem, 0, IPC_RMID);
    msgctl(queue, IPC_RMID, NULL);
}

int main(int argc, char **argv)
{
    struct { long type; char text[8]; } message = { 3, "hello" };
    struct sembuf down = { 0, -1, SEM_UNDO }, up = { 0, 1, 0 };
    struct shmid_ds segment;
    struct semid_ds set;
    struct msqid_ds queue_status;
    int status;

    say("absent", msgget(KEY, 0));
    int queue = msgget(KEY, IPC_CREAT | 0600), sem = semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0640);
    int shm = shmget(KEY, 10000, IPC_CREAT | 0600);
    say("exists", semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0600));
    say("too many", semget(KEY, 3, 0));
    say("same", msgget(KEY, 0) != queue);
    char *memory = shmat(shm, NULL, 0);
    say("attached", memory == (void *)-1);
    strcpy(memory, "before");
    if (!fork()) {
        char *mine = shmat(shm, NULL, 0);
        semop(sem, &down, 1);
        strcpy(mine, "after");
        msgsnd(queue, &message, 6, 0);
        _exit(0);
    }
    say("SETVAL", semctl(sem, 1, SETVAL, 5));
    say("up", semop(sem, &up, 1));
    message.text[0] = 0;
    say("received", msgrcv(queue, &message, 8, -4, 0) != 6);
    printf("%ld %s %s\n", message.type, message.text, memory);
    wait(&status);
    unsigned short values[2];
    say("GETALL", semctl(sem, 0, GETALL, values));
    printf("%d %d\n", values[0], values[1]);
    say("none", msgrcv(queue, &message, 8, 0, IPC_NOWAIT));
    shmctl(shm, IPC_STAT, &segment);
    printf("%ld %ld %o %x\n", (long)segment.shm_segsz, (long)segment.shm_nattch, segment.shm_perm.mode, segment.shm_perm.__key);
    semctl(sem, 0, IPC_STAT, &set);
    printf("%ld %o\n", (long)set.sem_nsems, set.sem_perm.mode);
    msgctl(queue, IPC_STAT, &queue_status);
    printf("%ld %d\n", (long)queue_status.msg_qnum, queue_status.msg_lspid != 0);
    say("RMID", shmctl(shm, IPC_RMID, NULL));
    say("gone", shmget(KEY, 0, 0));
    printf("%s\n", memory);
    say("detached", shmdt(memory));
    if (argc > 1) {
        puts("waits");
        fflush(stdout);
        pause();
    }
    if (!fork()) {
        say("removed", semop(sem, &(struct sembuf){ 0, -9, 0 }, 1));
        _exit(0);
    }
    while (semctl(sem, 0, GETNCNT) != 1)
        ;
    int removed = semctl(sem, 0, IPC_RMID);
    wait(&status);
    say("RMID", removed);
    say("RMID", msgctl(queue, IPC_RMID, NULL));
    say("stale", msgctl(queue, IPC_STAT, &queue_status));
    say("foreign", semctl(999999, 0, GETVAL));

    told();

    struct mq_attr attributes = { 0, 4, 32 };
    say("mq absent", mq_open("/int80-test", O_RDONLY));
    mqd_t mq = mq_open("/int80-test", O_CREAT | O_RDWR, 0600, &attributes);
    say("mq exists", mq_open("/int80-test", O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
    if (!fork()) {
        mqd_t other = mq_open("/int80-test", O_WRONLY);
        mq_send(other, "low", 4, 1);
        mq_send(other, "high", 5, 2);
        _exit(0);
    }
    wait(&status);
    struct stat mq_status;
    umask(022);
    mqd_t shared = mq_open("/int80-test-mode", O_CREAT | O_RDWR, 0666, &attributes);
    fstat(shared, &mq_status);
    printf("%o\n", mq_status.st_mode);
    mq_unlink("/int80-test-mode");
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    mq_notify(shared, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 });
    pid_t sender = fork();
    if (!sender) {
        mq_send(shared, "", 0, 0);
        _exit(0);
    }
    wait(&status);
    siginfo_t info;
    say("notified", sigwaitinfo(&signals, &info));
    printf("by who has ended %d %d\n", info.si_code, info.si_pid == sender);
    char text[32];
    say("mq got", mq_receive(mq, text, 32, NULL) != 5);
    printf("%s\n", text);
    say("mq unlink", mq_unlink("/int80-test"));
    say("mq again", mq_unlink("/int80-test"));
    say("mq got", mq_receive(mq, text, 32, NULL) != 4);
    return 0;
}
