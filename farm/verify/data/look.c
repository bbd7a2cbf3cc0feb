/* What a compiled program sees of the root that it runs in. */
#define _GNU_SOURCE
#include <dirent.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void clock_since(long written)
{
	const long hundred_days = 8640000;
	struct timespec now, until;
	struct timeval day;
	struct stat self;
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;

	clock_gettime(CLOCK_REALTIME, &now);
	gettimeofday(&day, NULL);
	stat("look", &self);
	printf("%ld %ld %ld %ld\n", (now.tv_sec - written) / hundred_days,
	       (day.tv_sec - written) / hundred_days, (time(NULL) - written) / hundred_days,
	       (self.st_mtime - written) / hundred_days);

	/* To wait until a moment of this clock must not take as long as the clock is ahead. */
	until = now;
	until.tv_sec += 1;
	pthread_mutex_lock(&mutex);
	printf("%s\n", strerror(pthread_cond_timedwait(&never, &mutex, &until)));
}

static void list(const char *directory)
{
	DIR *open = opendir(directory);
	struct dirent *entry, **all;
	int count = scandir(directory, &all, NULL, NULL);

	while ((entry = readdir(open)) != NULL)
		if (entry->d_name[0] != '.')
			printf("%s ", entry->d_name);
	rewinddir(open);
	readdir(open);
	long second = telldir(open);
	entry = readdir(open);
	char name[256];
	strcpy(name, entry->d_name);
	seekdir(open, second);
	printf("%d\n", strcmp(name, readdir(open)->d_name));
	closedir(open);
	for (int n = 0; n < count; n++)
		if (all[n]->d_name[0] != '.')
			printf("%s ", all[n]->d_name);
	printf("\n");
}

int main(int argc, char **argv)
{
	struct utsname names;

	if (argc < 2)
		return 2;
	uname(&names);
	if (!strcmp(argv[1], "clock") && argc > 2)
		clock_since(atol(argv[2]));
	else if (!strcmp(argv[1], "hostname"))
		printf("%s\n", names.nodename);
	else if (!strcmp(argv[1], "cores"))
		printf("%ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	else if (!strcmp(argv[1], "ids"))
		printf("%d %d\n", (int)getuid(), (int)getgid());
	else if (!strcmp(argv[1], "kernel"))
		printf("%s %s\n", names.release, names.version);
	else if (!strcmp(argv[1], "order") && argc > 2)
		list(argv[2]);
	else if (!strcmp(argv[1], "locale")) {
		char day[80];
		time_t then = 1000000000;

		printf("%s\n", setlocale(LC_ALL, "") != NULL ? "set" : "refused");
		strftime(day, sizeof day, "%A %Z", localtime(&then));
		printf("%s %.1f %d\n", day, 0.5, strcoll("t", "z") < 0);
	} else
		return 2;
	return 0;
}
