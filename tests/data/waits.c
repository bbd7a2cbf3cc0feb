/* Waits in every way until a moment of the clock that is a tenth of a second away. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static struct timespec soon(clockid_t clock)
{
	struct timespec moment;

	clock_gettime(clock, &moment);
	moment.tv_nsec += 100000000;
	if (moment.tv_nsec >= 1000000000) {
		moment.tv_nsec -= 1000000000;
		moment.tv_sec++;
	}
	return moment;
}

static void *sleeper(void *nothing)
{
	sleep(30);
	return nothing;
}

static void told(const char *what, int code)
{
	printf("%s %s\n", what, strerror(code));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	clockid_t clock = argc > 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
	pthread_cond_t cond;
	pthread_condattr_t attributes;
	pthread_t thread;
	sem_t semaphore;
	struct timespec until;
	(void)argv;

	alarm(20);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, clock);
	pthread_cond_init(&cond, &attributes);
	sem_init(&semaphore, 0, 0);
	pthread_create(&thread, NULL, sleeper, NULL);

	pthread_mutex_lock(&mutex);
	until = soon(clock);
	told("cond_timedwait", pthread_cond_timedwait(&cond, &mutex, &until));
	until = soon(clock);
	told("cond_clockwait", pthread_cond_clockwait(&cond, &mutex, clock, &until));
	until = soon(clock);
	told("mutex_clocklock", pthread_mutex_clocklock(&mutex, clock, &until));
	pthread_rwlock_wrlock(&lock);
	until = soon(clock);
	told("sem_clockwait", sem_clockwait(&semaphore, clock, &until) ? errno : 0);
	until = soon(clock);
	told("clock_nanosleep", clock_nanosleep(clock, TIMER_ABSTIME, &until, NULL));

	int timer = timerfd_create(clock, 0);
	struct itimerspec once = {.it_value = soon(clock)};
	char eight[8];
	timerfd_settime(timer, TFD_TIMER_ABSTIME, &once, NULL);
	told("timerfd", read(timer, eight, 8) == 8 ? 0 : errno);

	timer_t made;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	sigset_t set;
	int got;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	timer_create(clock, &event, &made);
	once.it_value = soon(clock);
	timer_settime(made, TIMER_ABSTIME, &once, NULL);
	told("timer", sigwait(&set, &got));

	if (clock == CLOCK_REALTIME) {
		mtx_t plain;
		cnd_t signalled;
		int word = 0;

		mtx_init(&plain, mtx_timed);
		cnd_init(&signalled);
		mtx_lock(&plain);
		until = soon(clock);
		told("cnd_timedwait", cnd_timedwait(&signalled, &plain, &until) == thrd_timedout
					      ? ETIMEDOUT : 0);
		until = soon(clock);
		told("mutex_timedlock", pthread_mutex_timedlock(&mutex, &until));
		until = soon(clock);
		told("sem_timedwait", sem_timedwait(&semaphore, &until) ? errno : 0);
		until = soon(clock);
		told("timedjoin", pthread_timedjoin_np(thread, NULL, &until));
		until = soon(clock);
		long woken = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0,
				     &until, NULL, FUTEX_BITSET_MATCH_ANY);
		told("futex", woken ? errno : 0);
	}
	return 0;
}
