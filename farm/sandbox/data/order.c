/* Directories the other way round: readdir(3) and its kin give the entries in the opposite order
 * of what the file system does, so that of any two the other one comes first.
 *
 * A directory is read whole at the first readdir after opendir or rewinddir; the entries are then
 * given from the last to the first. telldir counts them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "next.h"

#if __SIZEOF_LONG__ != 8
#error "struct dirent has two forms here"
#endif

struct listing {
	struct listing *next;
	DIR *directory;
	struct dirent **entries;
	long count, at;
	int error; /* that ended the reading, given at the end */
};

#define ROWS 64
static struct listing *table[ROWS];
static char busy;

static struct listing **row_of(DIR *directory)
{
	return &table[((unsigned long)directory >> 4) % ROWS];
}

static void enter(void)
{
	while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void leave(void)
{
	__atomic_clear(&busy, __ATOMIC_RELEASE);
}

static struct listing *known(DIR *directory)
{
	struct listing *each;

	enter();
	for (each = *row_of(directory); each && each->directory != directory;)
		each = each->next;
	leave();
	return each;
}

static void forget(DIR *directory)
{
	struct listing **link, *found;

	enter();
	for (link = row_of(directory); *link && (*link)->directory != directory;)
		link = &(*link)->next;
	found = *link;
	if (found)
		*link = found->next;
	leave();
	if (!found)
		return;
	while (found->count)
		free(found->entries[--found->count]);
	free(found->entries);
	free(found);
}

static int add(struct listing *listing, const struct dirent *entry)
{
	struct dirent *copy = malloc(entry->d_reclen);

	if ((listing->count & (listing->count + 1)) == 0) {
		size_t room = 2 * (listing->count + 1) * sizeof copy;
		struct dirent **more = realloc(listing->entries, room);
		if (!more) {
			free(copy);
			return ENOMEM;
		}
		listing->entries = more;
	}
	if (!copy)
		return ENOMEM;
	memcpy(copy, entry, entry->d_reclen);
	listing->entries[listing->count++] = copy;
	return 0;
}

static struct listing *listing_of(DIR *directory)
{
	struct listing *listing = known(directory);
	struct dirent *entry;
	int before = errno;

	if (listing)
		return listing;
	listing = calloc(1, sizeof *listing);
	if (!listing)
		return NULL;
	listing->directory = directory;
	errno = 0;
	while (!listing->error && (entry = NEXT(readdir)(directory)) != NULL)
		listing->error = add(listing, entry);
	if (!listing->error)
		listing->error = errno;
	for (long a = 0, b = listing->count - 1; a < b; a++, b--) {
		struct dirent *swapped = listing->entries[a];
		listing->entries[a] = listing->entries[b];
		listing->entries[b] = swapped;
	}
	for (long n = 0; n < listing->count; n++)
		listing->entries[n]->d_off = n + 1;
	errno = before;
	enter();
	listing->next = *row_of(directory);
	*row_of(directory) = listing;
	leave();
	return listing;
}

EXPORT struct dirent *readdir(DIR *directory)
{
	struct listing *listing = listing_of(directory);

	if (!listing) {
		errno = ENOMEM;
		return NULL;
	}
	if (listing->at < listing->count)
		return listing->entries[listing->at++];
	if (listing->error)
		errno = listing->error;
	return NULL;
}

EXPORT struct dirent64 *readdir64(DIR *directory)
{
	return (struct dirent64 *)readdir(directory);
}

EXPORT int readdir_r(DIR *directory, struct dirent *place, struct dirent **result)
{
	struct listing *listing = listing_of(directory);

	*result = NULL;
	if (!listing)
		return ENOMEM;
	if (listing->at >= listing->count)
		return listing->error;
	struct dirent *entry = listing->entries[listing->at++];
	memcpy(place, entry, entry->d_reclen);
	*result = place;
	return 0;
}

EXPORT int readdir64_r(DIR *directory, struct dirent64 *place, struct dirent64 **result)
{
	return readdir_r(directory, (struct dirent *)place, (struct dirent **)result);
}

EXPORT long telldir(DIR *directory)
{
	struct listing *listing = known(directory);

	return listing ? listing->at : 0;
}

EXPORT void seekdir(DIR *directory, long place)
{
	struct listing *listing = place ? listing_of(directory) : known(directory);

	if (listing)
		listing->at = place < 0 || place > listing->count ? listing->count : place;
}

EXPORT void rewinddir(DIR *directory)
{
	forget(directory);
	NEXT(rewinddir)(directory);
}

EXPORT int closedir(DIR *directory)
{
	forget(directory);
	return NEXT(closedir)(directory);
}

/* The C library reads the directory itself here; what its sort finds equal, and everything when
 * nothing is sorted, comes in the order of reading. */
typedef int compare_t(const struct dirent **, const struct dirent **);
typedef int any_compare_t(const void *, const void *);

static int turned(int count, void *list, compare_t *compare)
{
	void **entries;

	if (count < 2)
		return count;
	entries = *(void ***)list;
	for (int a = 0, b = count - 1; a < b; a++, b--) {
		void *swapped = entries[a];
		entries[a] = entries[b];
		entries[b] = swapped;
	}
	if (compare)
		qsort(entries, count, sizeof *entries, (any_compare_t *)compare);
	return count;
}

EXPORT int scandir(const char *name, struct dirent ***list, int (*filter)(const struct dirent *),
		   compare_t *compare)
{
	return turned(NEXT(scandir)(name, list, filter, NULL), list, compare);
}

EXPORT int scandir64(const char *name, struct dirent64 ***list,
		     int (*filter)(const struct dirent64 *),
		     int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
	return turned(NEXT(scandir64)(name, list, filter, NULL), list, (compare_t *)compare);
}

EXPORT int scandirat(int at, const char *name, struct dirent ***list,
		     int (*filter)(const struct dirent *), compare_t *compare)
{
	return turned(NEXT(scandirat)(at, name, list, filter, NULL), list, compare);
}

EXPORT int scandirat64(int at, const char *name, struct dirent64 ***list,
		       int (*filter)(const struct dirent64 *),
		       int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
	return turned(NEXT(scandirat64)(at, name, list, filter, NULL), list, (compare_t *)compare);
}
