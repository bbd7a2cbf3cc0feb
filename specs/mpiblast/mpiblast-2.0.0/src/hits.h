/* From the hits of a segment to the numbers of the sequences hit. */
#ifndef MPIBLAST_HITS_H
#define MPIBLAST_HITS_H

#include "text.h"

#include <stdbool.h>
#include <stddef.h>

/* Ascending, each number once. */
struct oids {
    long long *oid;
    size_t count, room;
};

void oids_add(struct oids *oids, long long oid);
void oids_sort(struct oids *oids);
void oids_merge(struct oids *into, const long long *more, size_t count);
void oids_free(struct oids *oids);

/* Reads the subjects of an XML report (-outfmt 5). `named` gets the identifiers, one on a line, of
   those that the report does not number. */
void hits_read(const char *xml, size_t length, struct oids *oids, struct text *named);

/* Asks blastdbcmd for the numbers of named sequences. False when one is not found. */
bool hits_resolve(const struct text *named, const char *database, bool protein, struct oids *oids);

#endif
