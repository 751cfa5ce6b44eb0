#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
static atomic_long sum;
static void *work(void *from) { for (long i = 0; i < 100000; i++) sum += (long)from; return NULL; }
int main(void) {
    pthread_t threads[8];
    for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    printf("%ld\n", sum);
}
