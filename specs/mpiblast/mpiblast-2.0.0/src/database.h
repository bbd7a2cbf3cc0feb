/* A BLAST database as its parts: what a search of a part must know of the whole. */
#ifndef MPIBLAST_DATABASE_H
#define MPIBLAST_DATABASE_H

#include "options.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

struct volume {
    char *path;
    long long sequences;
};

/* Sequences are numbered from 0 through all volumes, as BLAST+ numbers them (OIDs). */
struct database {
    bool protein;
    char *title;
    long long sequences, letters;
    struct volume *volumes;
    size_t volume_count;
};

/* Asks blastdbcmd. False: `why` says what stands against searching this database in parts. */
bool database_describe(struct database *database, const struct options *options, struct text *why);

/* As bytes for the other ranks, and back. */
void database_pack(const struct database *database, struct text *packed);
void database_unpack(struct database *database, const char *bytes, size_t length);
void database_free(struct database *database);

/* Writes an alias database that holds the sequences first…last-1 and has the statistics of the
   whole. The name for -db (the caller frees it), or NULL: `why` says why. */
char *database_segment(const struct database *database, long long number, long long first,
                             long long last, struct text *why);

/* The same for the listed sequences (ascending). A later call replaces the database of a former. */
char *database_selection(const struct database *database, const long long *oids,
                               size_t count, struct text *why);

#endif
