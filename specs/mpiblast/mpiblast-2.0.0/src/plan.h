/* The query set, cut into pieces that can be searched apart. */
#ifndef MPIBLAST_PLAN_H
#define MPIBLAST_PLAN_H

#include <stdbool.h>
#include <stddef.h>

/* A run of whole queries. Pieces of one group are searched together by serial BLAST+: a group is
   one or more of its batches. A piece is partial when its group has others. */
struct piece {
    size_t begin, end;      /* bytes of the query file */
    long long first, count; /* queries, from 0 */
    long long group;
    bool partial;
};

struct plan {
    struct piece *pieces;
    size_t count;
    long long queries;
    bool nameless;          /* a query has no name: BLAST+ then prints its number */
};

struct plan_wish {
    long long batch;        /* residues that serial BLAST+ searches together */
    long long target;       /* residues of a piece to aim at */
    bool whole_groups;      /* never cut a group */
    bool one_piece;
};

/* There is at least one piece, which may hold no query. A set with a nameless query is one piece,
   for a query's number in its piece is not its number in the set. */
void plan_make(struct plan *plan, const char *bytes, size_t length, const struct plan_wish *wish);
void plan_free(struct plan *plan);

#endif
