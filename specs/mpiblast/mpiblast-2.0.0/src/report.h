/* What a BLAST program wrote, and how several such reports become one. */
#ifndef MPIBLAST_REPORT_H
#define MPIBLAST_REPORT_H

#include "options.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

/* A report is a head, which comes once; a body, which comes for each piece; and a tail. */
struct report {
    const char *bytes;
    size_t head, tail; /* lengths */
    size_t length;
    long long processed; /* queries that the tail of -outfmt 7 counts */
};

/* Finds the parts. False when they are not to be found where this format has them. */
bool report_split(struct report *report, const struct options *options, const char *bytes,
                  size_t length);

/* True when the report itself complains of a query. */
bool report_speaks_of_queries(const struct report *report, const struct options *options);

typedef void report_sink(void *to, const char *bytes, size_t length);

struct report_place {
    long long first_query;  /* queries before this piece */
    const char *database;   /* the name to show in place of an alias's; NULL: as it is */
};

/* Hands the body to `sink`, with numbers of queries and the database's name as the whole search
   would have them. */
void report_body(const struct report *report, const struct options *options,
                 const struct report_place *place, report_sink *sink, void *to);
void report_head(const struct report *report, const struct options *options,
                 const struct report_place *place, struct text *head);

/* The text without its "Query_<n>" numbers of the piece: those of the whole set instead. */
void renumber_queries(struct text *out, const char *bytes, size_t length, long long first_query);

#endif
