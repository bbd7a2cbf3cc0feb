/* Files that vanish: nameless ones, and named ones in a directory of this rank's own. */
#ifndef MPIBLAST_SCRATCH_H
#define MPIBLAST_SCRATCH_H

#include <stddef.h>

/* A new file without a name, open for reading and writing; -1 with errno when there is no room. */
int scratch_nameless(void);

/* The path of a named file in this rank's directory, which is made when first needed. The file is
   removed by scratch_remove. NULL with errno when the directory cannot be made. */
const char *scratch_path(const char *name);

/* Removes the named files and their directory; safe in a signal handler. */
void scratch_remove(void);

/* 0, or -1 with errno. */
int write_all(int file, const void *bytes, size_t length);
int write_file(const char *path, const void *bytes, size_t length);

#endif
