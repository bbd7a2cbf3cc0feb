/* Starting the programs of BLAST+ and waiting for them. */
#ifndef MPIBLAST_CHILD_H
#define MPIBLAST_CHILD_H

#include "text.h"

#include <stdbool.h>

/* The words of a command; a NULL follows the last one. */
struct words {
    char **word;
    size_t count;
};

void words_add(struct words *words, const char *word);
void words_free(struct words *words);

/* Where a program would be found in PATH; false when nowhere. */
bool program_exists(const char *name);

/* Runs a command with these files as its standard input, output and error. Returns its exit status,
   128 + the signal that ended it, or -1 when it could not be started; `why` then says why. */
int child_run(const struct words *command, int in, int out, int err, struct text *why);

/* Runs a command with nothing to read and adds what it writes to the texts. */
int child_ask(const struct words *command, struct text *out, struct text *err);

/* Ends a command that is running in another thread; safe in a signal handler. */
void child_stop(void);

/* Adds all bytes of a file, from its beginning. 0, or -1 with errno. */
int read_back(int file, struct text *text);

#endif
