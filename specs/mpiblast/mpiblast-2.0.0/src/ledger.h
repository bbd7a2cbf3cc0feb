/* Rank 0's account of the pieces: what is to do, what is done, and the report growing from it. */
#ifndef MPIBLAST_LEDGER_H
#define MPIBLAST_LEDGER_H

#include "job.h"
#include "plan.h"
#include "wire.h"

#include <stdbool.h>
#include <sys/types.h>

enum piece_state { PIECE_WAITING, PIECE_STARTED, PIECE_DONE, PIECE_VOID };

struct entry {
    enum piece_state state;
    long long edition;
    int segments_left;
    bool unresolved;
    struct oids oids;
    off_t spooled;         /* where its body lies in the spool */
    off_t spooled_length;
    struct text head, tail;
    long long processed;
};

struct ledger {
    const struct search *search;
    struct plan plan;
    const char *queries;   /* the bytes of the query file */
    struct entry *entries; /* one for each piece */
    size_t waiting;        /* no piece before this one waits */
    size_t *next_piece;    /* for each segment: the next piece to search it with */
    size_t *ready;         /* pieces searched in all segments, in the order of their end */
    size_t ready_count, ready_taken;
    size_t written;        /* pieces before this one are in the report */
    int out, spool;
    off_t spool_end;
    bool begun;
    struct text head, tail;
    long long processed;
    struct text said;      /* complaints passed on, a line each */
};

void ledger_open(struct ledger *ledger, const struct search *search, const char *queries,
                 size_t length, const struct plan_wish *wish, int out, int spool);
void ledger_free(struct ledger *ledger);
bool ledger_finished(const struct ledger *ledger);

/* A task for this rank, if there is one now. */
bool ledger_next(struct ledger *ledger, int rank, struct task *task);

/* A sink for the body of an arriving report; ledger_spool_end before it marks its beginning. */
void ledger_spool(void *ledger, const char *bytes, size_t length);

/* Takes an arrival whose body was spooled from `begin` on, and writes what is complete. False: it
   reports a failure that nothing can be done about. */
bool ledger_take(struct ledger *ledger, struct arrival *arrival, off_t begin);

/* Writes what comes once, behind everything else. */
void ledger_close(struct ledger *ledger);

#endif
