#include "wire.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TAG_TASK = 1, TAG_RESULT, TAG_BODY };
enum { BLOCK = 1 << 20 };

void rest(long nanoseconds)
{
    struct timespec time = {0, nanoseconds};
    nanosleep(&time, NULL);
}

/* Bytes of any number as messages of at most BLOCK; the receiver knows how many there are. */
static void send_bytes(int to, int tag, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        int part = length > BLOCK ? BLOCK : (int)length;
        MPI_Send(at, part, MPI_BYTE, to, tag, MPI_COMM_WORLD);
        at += part;
        length -= (size_t)part;
    }
}

static void receive_bytes(int from, int tag, void *bytes, size_t length)
{
    char *at = bytes;
    while (length > 0) {
        int part = length > BLOCK ? BLOCK : (int)length;
        MPI_Recv(at, part, MPI_BYTE, from, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        at += part;
        length -= (size_t)part;
    }
}

static void receive_text(int from, int tag, struct text *text, size_t length)
{
    if (length == 0)
        return;
    char *bytes = must_alloc(length, 1);
    receive_bytes(from, tag, bytes, length);
    text_add(text, bytes, length);
    free(bytes);
}

static void receive_oids(int from, int tag, struct oids *oids, size_t count)
{
    if (count == 0)
        return;
    oids->oid = must_alloc(count, sizeof *oids->oid);
    oids->count = oids->room = count;
    receive_bytes(from, tag, oids->oid, count * sizeof *oids->oid);
}

void wire_send_task(int to, const struct task *task)
{
    long long header[7] = {
        task->kind,        task->piece, task->edition, task->segment,
        task->first_query, (long long)task->queries.length, (long long)task->oids.count,
    };
    MPI_Send(header, 7, MPI_LONG_LONG, to, TAG_TASK, MPI_COMM_WORLD);
    send_bytes(to, TAG_TASK, task->queries.bytes, task->queries.length);
    send_bytes(to, TAG_TASK, task->oids.oid, task->oids.count * sizeof *task->oids.oid);
}

void wire_receive_task(struct task *task)
{
    long long header[7];
    int waiting = 0;
    for (long pause = 50000; !waiting; pause = pause < 2000000 ? 2 * pause : pause) {
        MPI_Iprobe(0, TAG_TASK, MPI_COMM_WORLD, &waiting, MPI_STATUS_IGNORE);
        if (!waiting)
            rest(pause);
    }
    MPI_Recv(header, 7, MPI_LONG_LONG, 0, TAG_TASK, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    *task = (struct task){
        .kind = header[0],
        .piece = header[1],
        .edition = header[2],
        .segment = header[3],
        .first_query = header[4],
    };
    receive_text(0, TAG_TASK, &task->queries, (size_t)header[5]);
    receive_oids(0, TAG_TASK, &task->oids, (size_t)header[6]);
}

/* Gathers a body into messages of BLOCK; an empty one ends it. */
struct body_stream {
    char *block;
    size_t used;
};

static void stream_body(void *to, const char *bytes, size_t length)
{
    struct body_stream *stream = to;
    while (length > 0) {
        size_t part = BLOCK - stream->used;
        part = length < part ? length : part;
        memcpy(stream->block + stream->used, bytes, part);
        stream->used += part;
        bytes += part;
        length -= part;
        if (stream->used == BLOCK) {
            MPI_Send(stream->block, BLOCK, MPI_BYTE, 0, TAG_BODY, MPI_COMM_WORLD);
            stream->used = 0;
        }
    }
}

static void send_body(const struct search *search, const struct result *result)
{
    struct body_stream stream = {.block = must_alloc(BLOCK, 1)};
    report_body(&result->report, search->options, &result->place, stream_body, &stream);
    if (stream.used > 0)
        MPI_Send(stream.block, (int)stream.used, MPI_BYTE, 0, TAG_BODY, MPI_COMM_WORLD);
    MPI_Send(stream.block, 0, MPI_BYTE, 0, TAG_BODY, MPI_COMM_WORLD);
    free(stream.block);
}

static void receive_body(int from, report_sink *sink, void *to)
{
    char *block = must_alloc(BLOCK, 1);
    int length;
    do {
        MPI_Status status;
        MPI_Recv(block, BLOCK, MPI_BYTE, from, TAG_BODY, MPI_COMM_WORLD, &status);
        MPI_Get_count(&status, MPI_BYTE, &length);
        if (length > 0)
            sink(to, block, (size_t)length);
    } while (length > 0);
    free(block);
}

static const char *tail_of(const struct report *report)
{
    return report->length ? report->bytes + report->length - report->tail : "";
}

void wire_send_result(const struct search *search, const struct result *result)
{
    const struct report *report = &result->report;
    struct text head = {0};
    report_head(report, search->options, &result->place, &head);
    long long header[12] = {
        result->kind,
        result->piece,
        result->edition,
        result->segment,
        result->status,
        result->unresolved,
        (long long)result->complaints.length,
        (long long)result->oids.count,
        (long long)head.length,
        (long long)report->tail,
        report->processed,
        result->about_queries,
    };
    MPI_Send(header, 12, MPI_LONG_LONG, 0, TAG_RESULT, MPI_COMM_WORLD);
    MPI_Send(&result->seconds, 1, MPI_DOUBLE, 0, TAG_BODY, MPI_COMM_WORLD);
    send_bytes(0, TAG_BODY, result->complaints.bytes, result->complaints.length);
    send_bytes(0, TAG_BODY, result->oids.oid, result->oids.count * sizeof *result->oids.oid);
    send_bytes(0, TAG_BODY, head.bytes, head.length);
    send_bytes(0, TAG_BODY, tail_of(report), report->tail);
    send_body(search, result);
    text_free(&head);
}

int wire_waiting(void)
{
    int waiting;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, TAG_RESULT, MPI_COMM_WORLD, &waiting, &status);
    return waiting ? status.MPI_SOURCE : -1;
}

void wire_receive_result(int from, struct arrival *arrival, report_sink *sink, void *to)
{
    long long header[12];
    *arrival = (struct arrival){0};
    struct result *result = &arrival->result;
    MPI_Recv(header, 12, MPI_LONG_LONG, from, TAG_RESULT, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    result->kind = header[0];
    result->piece = header[1];
    result->edition = header[2];
    result->segment = header[3];
    result->status = header[4];
    result->unresolved = header[5] != 0;
    arrival->processed = header[10];
    result->about_queries = header[11] != 0;
    MPI_Recv(&result->seconds, 1, MPI_DOUBLE, from, TAG_BODY, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    receive_text(from, TAG_BODY, &result->complaints, (size_t)header[6]);
    receive_oids(from, TAG_BODY, &result->oids, (size_t)header[7]);
    receive_text(from, TAG_BODY, &arrival->head, (size_t)header[8]);
    receive_text(from, TAG_BODY, &arrival->tail, (size_t)header[9]);
    receive_body(from, sink, to);
}

void wire_keep_result(const struct search *search, struct result *result, struct arrival *arrival,
                      report_sink *sink, void *to)
{
    *arrival = (struct arrival){.processed = result->report.processed};
    report_head(&result->report, search->options, &result->place, &arrival->head);
    text_add(&arrival->tail, tail_of(&result->report), result->report.tail);
    report_body(&result->report, search->options, &result->place, sink, to);
    arrival->result = *result;
    arrival->result.report = (struct report){0};
    struct result mapped = {.report = result->report};
    result_free(&mapped);
    *result = (struct result){0};
}

void arrival_free(struct arrival *arrival)
{
    result_free(&arrival->result);
    text_free(&arrival->head);
    text_free(&arrival->tail);
}

void wire_share(struct text *text)
{
    int rank;
    long long length = (long long)text->length;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Bcast(&length, 1, MPI_LONG_LONG, 0, MPI_COMM_WORLD);
    char *bytes = must_alloc((size_t)length, 1);
    if (rank == 0 && length > 0)
        memcpy(bytes, text->bytes, (size_t)length);
    for (long long at = 0; at < length; at += BLOCK) {
        int part = length - at > BLOCK ? BLOCK : (int)(length - at);
        MPI_Bcast(bytes + at, part, MPI_BYTE, 0, MPI_COMM_WORLD);
    }
    if (rank != 0)
        text_add(text, bytes, (size_t)length);
    free(bytes);
}
