/* A kernel of another name and version: uname(2) as the C library gives it. The machine stays. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/utsname.h>

#include "next.h"

EXPORT int uname(struct utsname *names)
{
	int result = NEXT(uname)(names);

	if (result == 0) {
		snprintf(names->release, sizeof names->release, "%s", RELEASE);
		snprintf(names->version, sizeof names->version, "%s", VERSION);
	}
	return result;
}
