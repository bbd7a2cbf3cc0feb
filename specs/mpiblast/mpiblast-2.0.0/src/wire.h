/* Tasks and results as messages between rank 0 and the others. */
#ifndef MPIBLAST_WIRE_H
#define MPIBLAST_WIRE_H

#include "job.h"

#include <stdbool.h>

void wire_send_task(int to, const struct task *task);
/* Waits without keeping the processor busy. */
void wire_receive_task(struct task *task);

/* A result as it arrives: its report comes apart, the body going straight to a sink. */
struct arrival {
    struct result result; /* its report is empty */
    struct text head, tail;
    long long processed;
};

void wire_send_result(const struct search *search, const struct result *result);
/* The rank that a result waits from, or -1. */
int wire_waiting(void);
void wire_receive_result(int from, struct arrival *arrival, report_sink *sink, void *to);

/* A result of this rank itself, taken apart in the same way. */
void wire_keep_result(const struct search *search, struct result *result, struct arrival *arrival,
                      report_sink *sink, void *to);
void arrival_free(struct arrival *arrival);

/* Bytes of rank 0 to all; the others' text is filled. */
void wire_share(struct text *text);

void rest(long nanoseconds);

#endif
