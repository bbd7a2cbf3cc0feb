/* A clock that is OFFSET seconds ahead.
 *
 * Whoever asks for the time of day gets the later one. Times of files that were touched since the
 * sandbox began are shown as that much later, too, and come back when they are set: `cp -p`,
 * `make` and `ls` find one clock everywhere. Moments that a program waits for are moved back, or
 * it would wait for as long as the clock is ahead. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "next.h"

#if __SIZEOF_LONG__ != 8
#error "there are two kinds of time_t here"
#endif

/* Made when the sandbox is: files with later times are of this build. */
#define BEGUN "/etc/ld.so.preload"

static int is_time_of_day(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI ||
	       clock == CLOCK_REALTIME_ALARM;
}

/* What is asked for the time */

EXPORT int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = NEXT(clock_gettime)(clock, now);

	if (result == 0 && is_time_of_day(clock))
		now->tv_sec += OFFSET;
	return result;
}

static time_t real_now(void)
{
	struct timespec now;

	NEXT(clock_gettime)(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

EXPORT int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	int result = NEXT(gettimeofday)(now, zone);

	__asm__("" : "+r"(now)); /* declared never to be NULL, and yet it may be */
	if (result == 0 && now)
		now->tv_sec += OFFSET;
	return result;
}

EXPORT time_t time(time_t *place)
{
	time_t now = real_now() + OFFSET;

	if (place)
		*place = now;
	return now;
}

EXPORT int timespec_get(struct timespec *now, int base)
{
	int result = NEXT(timespec_get)(now, base);

	if (result == TIME_UTC)
		now->tv_sec += OFFSET;
	return result;
}

struct timeb {
	time_t time;
	unsigned short millitm;
	short timezone, dstflag;
};

EXPORT int ftime(struct timeb *place)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	place->time = now.tv_sec;
	place->millitm = now.tv_nsec / 1000000;
	place->timezone = place->dstflag = 0;
	return 0;
}

/* What is waited for. A moment of a clock that counts from the machine's start is far from now. */

static const struct timespec *due(const struct timespec *moment, struct timespec *place)
{
	if (!moment || moment->tv_sec < real_now() + OFFSET / 2)
		return moment;
	place->tv_sec = moment->tv_sec - OFFSET;
	place->tv_nsec = moment->tv_nsec;
	return place;
}

#define DUE(moment) due(moment, &(struct timespec){0})

EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
				  const struct timespec *restrict until)
{
	return NEXT_VERSION(pthread_cond_timedwait, "GLIBC_2.3.2")(cond, mutex, DUE(until));
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex,
				   const struct timespec *restrict until)
{
	return NEXT(pthread_mutex_timedlock)(mutex, DUE(until));
}

EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict lock,
				      const struct timespec *restrict until)
{
	return NEXT(pthread_rwlock_timedrdlock)(lock, DUE(until));
}

EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict lock,
				      const struct timespec *restrict until)
{
	return NEXT(pthread_rwlock_timedwrlock)(lock, DUE(until));
}

EXPORT int pthread_timedjoin_np(pthread_t thread, void **result, const struct timespec *until)
{
	return NEXT(pthread_timedjoin_np)(thread, result, DUE(until));
}

EXPORT int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
	return NEXT(sem_timedwait)(semaphore, DUE(until));
}

EXPORT int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex,
			 const struct timespec *restrict until)
{
	return NEXT(cnd_timedwait)(cond, mutex, DUE(until));
}

EXPORT int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict until)
{
	return NEXT(mtx_timedlock)(mutex, DUE(until));
}

EXPORT ssize_t mq_timedreceive(mqd_t queue, char *restrict text, size_t size,
			       unsigned *restrict priority, const struct timespec *restrict until)
{
	return NEXT(mq_timedreceive)(queue, text, size, priority, DUE(until));
}

EXPORT int mq_timedsend(mqd_t queue, const char *text, size_t size, unsigned priority,
			const struct timespec *until)
{
	return NEXT(mq_timedsend)(queue, text, size, priority, DUE(until));
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
				  clockid_t clock, const struct timespec *restrict until)
{
	return NEXT(pthread_cond_clockwait)(cond, mutex, clock, DUE(until));
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *restrict mutex, clockid_t clock,
				   const struct timespec *restrict until)
{
	return NEXT(pthread_mutex_clocklock)(mutex, clock, DUE(until));
}

EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *restrict lock, clockid_t clock,
				      const struct timespec *restrict until)
{
	return NEXT(pthread_rwlock_clockrdlock)(lock, clock, DUE(until));
}

EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *restrict lock, clockid_t clock,
				      const struct timespec *restrict until)
{
	return NEXT(pthread_rwlock_clockwrlock)(lock, clock, DUE(until));
}

EXPORT int sem_clockwait(sem_t *restrict semaphore, clockid_t clock,
			 const struct timespec *restrict until)
{
	return NEXT(sem_clockwait)(semaphore, clock, DUE(until));
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
			   struct timespec *rest)
{
	const struct timespec *moment = flags & TIMER_ABSTIME ? DUE(until) : until;

	return NEXT_VERSION(clock_nanosleep, "GLIBC_2.17")(clock, flags, moment, rest);
}

static const struct itimerspec *due_timer(const struct itimerspec *timer, struct itimerspec *place)
{
	if (!timer)
		return timer;
	*place = *timer;
	place->it_value = *due(&timer->it_value, &(struct timespec){0});
	return place;
}

EXPORT int timer_settime(timer_t timer, int flags, const struct itimerspec *restrict value,
			 struct itimerspec *restrict old)
{
	struct itimerspec place;

	if (flags & TIMER_ABSTIME)
		value = due_timer(value, &place);
	return NEXT_VERSION(timer_settime, "GLIBC_2.3.3")(timer, flags, value, old);
}

EXPORT int timerfd_settime(int timer, int flags, const struct itimerspec *value,
			   struct itimerspec *old)
{
	struct itimerspec place;

	if (flags & TFD_TIMER_ABSTIME)
		value = due_timer(value, &place);
	return NEXT(timerfd_settime)(timer, flags, value, old);
}

/* Times of files */

static time_t begun(void)
{
	static time_t known;
	struct statx made;

	if (!known) {
		int before = errno;
		int found = NEXT(statx)(AT_FDCWD, BEGUN, 0, STATX_MTIME, &made) == 0;
		known = found ? made.stx_mtime.tv_sec : real_now();
		errno = before;
	}
	return known;
}

static int shown(int result, struct stat *file)
{
	if (result == 0) {
		time_t first = begun();
		file->st_atime += file->st_atime >= first ? OFFSET : 0;
		file->st_mtime += file->st_mtime >= first ? OFFSET : 0;
		file->st_ctime += file->st_ctime >= first ? OFFSET : 0;
	}
	return result;
}

#define SHOWN(name, kind, parameters, ...)                                                   \
	EXPORT int name parameters                                                           \
	{                                                                                    \
		return shown(NEXT(name)(__VA_ARGS__), (struct stat *)file);                  \
	}
#define STAT(name, kind)                                                                     \
	SHOWN(name, kind, (const char *restrict path, struct kind *restrict file), path, file)
#define FSTAT(name, kind) SHOWN(name, kind, (int open, struct kind *file), open, file)
#define FSTATAT(name, kind)                                                                  \
	SHOWN(name, kind,                                                                    \
	      (int at, const char *restrict path, struct kind *restrict file, int flags),    \
	      at, path, file, flags)

STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

/* What programs call that were built with a C library before 2.33. */
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat(int, const char *, struct stat *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstat(int, int, struct stat *);
int __fxstat64(int, int, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int);
int __fxstatat64(int, int, const char *, struct stat64 *, int);

#define XSTAT(name, kind)                                                                    \
	SHOWN(name, kind, (int form, const char *path, struct kind *file), form, path, file)
#define FXSTAT(name, kind)                                                                   \
	SHOWN(name, kind, (int form, int open, struct kind *file), form, open, file)
#define FXSTATAT(name, kind)                                                                 \
	SHOWN(name, kind, (int form, int at, const char *path, struct kind *file, int flags),\
	      form, at, path, file, flags)

XSTAT(__xstat, stat)
XSTAT(__xstat64, stat64)
XSTAT(__lxstat, stat)
XSTAT(__lxstat64, stat64)
FXSTAT(__fxstat, stat)
FXSTAT(__fxstat64, stat64)
FXSTATAT(__fxstatat, stat)
FXSTATAT(__fxstatat64, stat64)

static void show(struct statx_timestamp *moment)
{
	if (moment->tv_sec >= begun())
		moment->tv_sec += OFFSET;
}

EXPORT int statx(int at, const char *restrict path, int flags, unsigned mask,
		 struct statx *restrict file)
{
	int result = NEXT(statx)(at, path, flags, mask, file);

	if (result == 0) {
		show(&file->stx_atime);
		show(&file->stx_btime);
		show(&file->stx_ctime);
		show(&file->stx_mtime);
	}
	return result;
}

/* Such a time as was shown before. UTIME_NOW and UTIME_OMIT stand in the nanoseconds. */
static time_t stored(time_t moment)
{
	return moment >= begun() + OFFSET ? moment - OFFSET : moment;
}

static const struct timespec *stored2(const struct timespec times[2], struct timespec place[2])
{
	for (int n = 0; times && n < 2; n++) {
		place[n].tv_sec = stored(times[n].tv_sec);
		place[n].tv_nsec = times[n].tv_nsec;
	}
	return times ? place : times;
}

static const struct timeval *stored2v(const struct timeval times[2], struct timeval place[2])
{
	for (int n = 0; times && n < 2; n++) {
		place[n].tv_sec = stored(times[n].tv_sec);
		place[n].tv_usec = times[n].tv_usec;
	}
	return times ? place : times;
}

#define STORED(times) stored2(times, (struct timespec[2]){0})
#define STORED_V(times) stored2v(times, (struct timeval[2]){0})

EXPORT int utimensat(int at, const char *path, const struct timespec times[2], int flags)
{
	return NEXT(utimensat)(at, path, STORED(times), flags);
}

EXPORT int futimens(int open, const struct timespec times[2])
{
	return NEXT(futimens)(open, STORED(times));
}

EXPORT int utimes(const char *path, const struct timeval times[2])
{
	return NEXT(utimes)(path, STORED_V(times));
}

EXPORT int lutimes(const char *path, const struct timeval times[2])
{
	return NEXT(lutimes)(path, STORED_V(times));
}

EXPORT int futimes(int open, const struct timeval times[2])
{
	return NEXT(futimes)(open, STORED_V(times));
}

EXPORT int futimesat(int at, const char *path, const struct timeval times[2])
{
	return NEXT(futimesat)(at, path, STORED_V(times));
}

EXPORT int utime(const char *path, const struct utimbuf *times)
{
	struct utimbuf place;

	if (times) {
		place.actime = stored(times->actime);
		place.modtime = stored(times->modtime);
	}
	return NEXT(utime)(path, times ? &place : NULL);
}

/* Calls of the kernel by number, as some run-time libraries make them */

EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list more;
	struct timespec place;

	va_start(more, number);
	for (int n = 0; n < 6; n++)
		a[n] = va_arg(more, long);
	va_end(more);
	switch (number) {
	case SYS_clock_gettime:
		return clock_gettime(a[0], (struct timespec *)a[1]);
	case SYS_gettimeofday:
		return gettimeofday((struct timeval *)a[0], (void *)a[1]);
	case SYS_futex:
		if (a[1] & FUTEX_CLOCK_REALTIME)
			a[3] = (long)due((const struct timespec *)a[3], &place);
	}
	return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
