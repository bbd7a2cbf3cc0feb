/* Rank 0: gives out tasks, takes results, and searches itself as well. */
#ifndef MPIBLAST_COORDINATOR_H
#define MPIBLAST_COORDINATOR_H

#include "job.h"
#include "plan.h"

void coordinate(const struct search *search, const char *queries, size_t length,
                const struct plan_wish *wish, int out, int spool);

/* Every other rank: searches what it is given until it is told to stop. */
void work(const struct search *search);

#endif
