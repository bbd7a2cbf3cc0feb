#include "scratch.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *directory;
static char **paths;
static volatile size_t path_count; /* raised only after the path is in place */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *parent(void)
{
    const char *chosen = getenv("TMPDIR");
    return chosen != NULL && chosen[0] == '/' ? chosen : "/tmp";
}

int scratch_nameless(void)
{
    struct text path = {0};
    text_say(&path, "%s/mpiblast-XXXXXX", parent());
    int file = mkostemp(path.bytes, O_CLOEXEC);
    if (file >= 0)
        unlink(path.bytes);
    text_free(&path);
    return file;
}

static const char *find_or_add(const char *name)
{
    if (directory == NULL) {
        struct text made = {0};
        text_say(&made, "%s/mpiblast-XXXXXX", parent());
        if (mkdtemp(made.bytes) == NULL) {
            text_free(&made);
            return NULL;
        }
        directory = made.bytes;
    }
    struct text path = {0};
    text_say(&path, "%s/%s", directory, name);
    for (size_t i = 0; i < path_count; i++) {
        if (strcmp(paths[i], path.bytes) == 0) {
            text_free(&path);
            return paths[i];
        }
    }
    if (path_count % 64 == 0) {
        /* The handler may be reading the old list: it is left where it is. */
        char **longer = must_alloc(path_count + 64, sizeof *longer);
        if (path_count > 0)
            memcpy(longer, paths, path_count * sizeof *longer);
        paths = longer;
    }
    paths[path_count] = path.bytes;
    path_count++;
    return path.bytes;
}

const char *scratch_path(const char *name)
{
    pthread_mutex_lock(&lock);
    const char *path = find_or_add(name);
    pthread_mutex_unlock(&lock);
    return path;
}

void scratch_remove(void)
{
    for (size_t i = 0; i < path_count; i++)
        unlink(paths[i]);
    if (directory != NULL)
        rmdir(directory);
}

int write_all(int file, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = write(file, at, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        at += done;
        length -= (size_t)done;
    }
    return 0;
}

int write_file(const char *path, const void *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    int failed = write_all(file, bytes, length);
    int why = errno;
    if (close(file) != 0 && !failed) {
        failed = -1;
        why = errno;
    }
    errno = why;
    return failed;
}
