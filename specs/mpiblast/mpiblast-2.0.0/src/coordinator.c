#include "coordinator.h"

#include "ledger.h"
#include "stop.h"
#include "wire.h"

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The search that rank 0 does itself, in a thread that never calls MPI. */
struct own_search {
    const struct search *search;
    struct task task;
    struct result result;
    pthread_t thread;
    bool busy;
    atomic_bool done;
};

static void *search_own(void *argument)
{
    struct own_search *own = argument;
    job_run(own->search, &own->task, &own->result);
    atomic_store(&own->done, true);
    return NULL;
}

struct coordinator {
    const struct search *search;
    struct ledger ledger;
    struct own_search own;
    int ranks;
    bool *idle;
    char *hosts;
};

static char *gather_hosts(int ranks)
{
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length;
    MPI_Get_processor_name(host, &length);
    char *hosts = must_alloc((size_t)ranks, sizeof host);
    MPI_Gather(host, sizeof host, MPI_CHAR, hosts, sizeof host, MPI_CHAR, 0, MPI_COMM_WORLD);
    return hosts;
}

static void say_task(struct text *text, const struct coordinator *state, int rank,
                     const struct result *result)
{
    const struct piece *piece = &state->ledger.plan.pieces[result->piece];
    text_say(text, "rank %d on %s: %s, queries %lld to %lld", rank,
             state->hosts + (size_t)rank * MPI_MAX_PROCESSOR_NAME, state->search->options->program,
             piece->first + 1, piece->first + piece->count);
    if (result->kind == TASK_SEGMENT)
        text_say(text, ", segment %lld of %d", result->segment + 1, state->search->segments);
    else if (result->kind == TASK_SELECTION)
        text_say(text, ", selected sequences");
}

static void take(struct coordinator *state, int rank, struct arrival *arrival, off_t begin)
{
    struct text line = {0};
    const struct result *result = &arrival->result;
    say_task(&line, state, rank, result);
    if (state->search->options->verbose)
        fprintf(stderr, "mpiblast: %s: %.2f s\n", line.bytes, result->seconds);
    if (!ledger_take(&state->ledger, arrival, begin)) {
        long long status = result->status > 0 && result->status < 256 ? result->status : 1;
        stop_all((int)status, "%s: failed (status %lld)\n%s", line.bytes, result->status,
                 result->complaints.length ? result->complaints.bytes : "");
    }
    text_free(&line);
    arrival_free(arrival);
}

static bool take_others(struct coordinator *state)
{
    bool any = false;
    for (int from; (from = wire_waiting()) >= 0; any = true) {
        struct arrival arrival;
        off_t begin = state->ledger.spool_end;
        wire_receive_result(from, &arrival, ledger_spool, &state->ledger);
        state->idle[from] = true;
        if (arrival.result.kind == TASK_STOP)
            arrival_free(&arrival); /* it says that the rank is there */
        else
            take(state, from, &arrival, begin);
    }
    return any;
}

static bool take_own(struct coordinator *state)
{
    struct own_search *own = &state->own;
    if (!own->busy || !atomic_load(&own->done))
        return false;
    struct arrival arrival;
    off_t begin = state->ledger.spool_end;
    pthread_join(own->thread, NULL);
    own->busy = false;
    wire_keep_result(state->search, &own->result, &arrival, ledger_spool, &state->ledger);
    task_free(&own->task);
    take(state, 0, &arrival, begin);
    return true;
}

static void give_out(struct coordinator *state)
{
    struct own_search *own = &state->own;
    for (int rank = 1; rank < state->ranks; rank++) {
        struct task task;
        if (!state->idle[rank] || !ledger_next(&state->ledger, rank, &task))
            continue;
        wire_send_task(rank, &task);
        task_free(&task);
        state->idle[rank] = false;
    }
    if (own->busy || !ledger_next(&state->ledger, 0, &own->task))
        return;
    atomic_store(&own->done, false);
    own->busy = true;
    int failed = pthread_create(&own->thread, NULL, search_own, own);
    if (failed)
        stop_all(1, "a thread cannot be started: %s\n", strerror(failed));
}

static void dismiss(struct coordinator *state)
{
    int away = 0;
    for (int rank = 1; rank < state->ranks; rank++)
        away += !state->idle[rank];
    for (; away > 0; rest(1000000)) { /* results of an old edition, which nobody waits for */
        for (int from; (from = wire_waiting()) >= 0; away--) {
            struct arrival arrival;
            wire_receive_result(from, &arrival, ledger_spool, &state->ledger);
            arrival_free(&arrival);
        }
    }
    for (int rank = 1; rank < state->ranks; rank++)
        wire_send_task(rank, &(struct task){.kind = TASK_STOP});
    if (state->own.busy) {
        pthread_join(state->own.thread, NULL);
        task_free(&state->own.task);
        result_free(&state->own.result);
    }
}

void coordinate(const struct search *search, const char *queries, size_t length,
                const struct plan_wish *wish, int out, int spool)
{
    struct coordinator state = {.search = search, .own.search = search};
    MPI_Comm_size(MPI_COMM_WORLD, &state.ranks);
    state.hosts = gather_hosts(state.ranks);
    state.idle = must_alloc((size_t)state.ranks, sizeof *state.idle);
    ledger_open(&state.ledger, search, queries, length, wish, out, spool);
    if (search->options->verbose)
        fprintf(stderr, "mpiblast: %lld queries in %zu pieces, %d segments, %d ranks\n",
                state.ledger.plan.queries, state.ledger.plan.count, search->segments, state.ranks);
    long pause = 100000;
    while (!ledger_finished(&state.ledger)) {
        bool any = take_others(&state);
        any |= take_own(&state);
        give_out(&state);
        if (!any)
            rest(pause);
        pause = any ? 100000 : pause < 2000000 ? 2 * pause : pause;
    }
    ledger_close(&state.ledger);
    dismiss(&state);
    ledger_free(&state.ledger);
    free(state.hosts);
    free(state.idle);
}

void work(const struct search *search)
{
    struct result result = {.kind = TASK_STOP};
    free(gather_hosts(1)); /* only rank 0 receives */
    wire_send_result(search, &result);
    for (;;) {
        struct task task;
        wire_receive_task(&task);
        if (task.kind == TASK_STOP) {
            task_free(&task);
            return;
        }
        job_run(search, &task, &result);
        wire_send_result(search, &result);
        result_free(&result);
        task_free(&task);
    }
}
