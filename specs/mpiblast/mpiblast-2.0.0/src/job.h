/* One search on one rank. */
#ifndef MPIBLAST_JOB_H
#define MPIBLAST_JOB_H

#include "database.h"
#include "hits.h"
#include "options.h"
#include "report.h"
#include "text.h"

#include <stdbool.h>

enum task_kind {
    TASK_STOP,
    TASK_WHOLE,     /* a piece of the queries against the whole database: gives a report */
    TASK_SEGMENT,   /* a piece against a segment: gives the numbers of the sequences hit */
    TASK_SELECTION, /* a piece against the sequences hit in any segment: gives a report */
};

struct task {
    long long kind;
    long long piece;       /* its place in the plan */
    long long edition;     /* raised when the piece was cut anew */
    long long segment;
    long long first_query;
    struct text queries;
    struct oids oids;      /* TASK_SELECTION */
};

struct result {
    long long kind, piece, edition, segment;
    long long status;      /* 0, or what the program ended with */
    bool unresolved;       /* TASK_SEGMENT: a sequence hit has no number */
    bool about_queries;    /* a query could not be searched as it is */
    struct text complaints; /* what the programs wrote to standard error, or why none ran */
    struct oids oids;      /* TASK_SEGMENT */
    struct report report;  /* TASK_WHOLE, TASK_SELECTION: its bytes are mapped */
    struct report_place place;
    double seconds;
};

/* What all ranks know. */
struct search {
    const struct options *options;
    const struct database *database; /* NULL unless the database is segmented */
    int segments;
};

void job_run(const struct search *search, const struct task *task, struct result *result);
void task_free(struct task *task);
void result_free(struct result *result);

#endif
