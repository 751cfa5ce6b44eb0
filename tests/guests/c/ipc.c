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
#include <sys/wait.h>
#include <unistd.h>

#define KEY 0x1580
static void say(const char *what, long value)
{
    printf("%s %s\n", what, value < 0 ? strerror(errno) : value ? "more" : "0");
    fflush(stdout);
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
    char text[32];
    say("mq got", mq_receive(mq, text, 32, NULL) != 5);
    printf("%s\n", text);
    say("mq unlink", mq_unlink("/int80-test"));
    say("mq again", mq_unlink("/int80-test"));
    say("mq got", mq_receive(mq, text, 32, NULL) != 4);
    return 0;
}
