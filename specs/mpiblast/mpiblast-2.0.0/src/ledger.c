#include "ledger.h"

#include "stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"

static bool by_database(const struct ledger *ledger)
{
    return ledger->search->database != NULL;
}

void ledger_open(struct ledger *ledger, const struct search *search, const char *queries,
                 size_t length, const struct plan_wish *wish, int out, int spool)
{
    *ledger = (struct ledger){.search = search, .queries = queries, .out = out, .spool = spool};
    plan_make(&ledger->plan, queries, length, wish);
    ledger->entries = must_alloc(ledger->plan.count, sizeof *ledger->entries);
    ledger->ready = must_alloc(ledger->plan.count, sizeof *ledger->ready);
    ledger->next_piece = must_alloc((size_t)search->segments, sizeof *ledger->next_piece);
    for (size_t i = 0; i < ledger->plan.count; i++)
        ledger->entries[i].segments_left = search->segments;
}

static void entry_free(struct entry *entry)
{
    oids_free(&entry->oids);
    text_free(&entry->head);
    text_free(&entry->tail);
}

void ledger_free(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->plan.count; i++)
        entry_free(&ledger->entries[i]);
    free(ledger->entries);
    free(ledger->ready);
    free(ledger->next_piece);
    text_free(&ledger->head);
    text_free(&ledger->tail);
    text_free(&ledger->said);
    plan_free(&ledger->plan);
}

bool ledger_finished(const struct ledger *ledger)
{
    return ledger->written == ledger->plan.count;
}

static void make_task(const struct ledger *ledger, enum task_kind kind, size_t piece,
                      long long segment, struct task *task)
{
    const struct piece *cut = &ledger->plan.pieces[piece];
    *task = (struct task){
        .kind = kind,
        .piece = (long long)piece,
        .edition = ledger->entries[piece].edition,
        .segment = segment,
        .first_query = cut->first,
    };
    text_add(&task->queries, ledger->queries + cut->begin, cut->end - cut->begin);
}

static bool next_by_query(struct ledger *ledger, struct task *task)
{
    while (ledger->waiting < ledger->plan.count &&
           ledger->entries[ledger->waiting].state != PIECE_WAITING)
        ledger->waiting++;
    if (ledger->waiting == ledger->plan.count)
        return false;
    ledger->entries[ledger->waiting].state = PIECE_STARTED;
    make_task(ledger, TASK_WHOLE, ledger->waiting, 0, task);
    return true;
}

/* A rank keeps to a segment, which then stays in its memory, and helps with the one that is most
   behind when its own is done. */
static bool next_by_database(struct ledger *ledger, int rank, struct task *task)
{
    int segments = ledger->search->segments, segment = rank % segments;
    if (ledger->ready_taken < ledger->ready_count) {
        size_t piece = ledger->ready[ledger->ready_taken++];
        struct entry *entry = &ledger->entries[piece];
        make_task(ledger, entry->unresolved ? TASK_WHOLE : TASK_SELECTION, piece, 0, task);
        oids_merge(&task->oids, entry->oids.oid, entry->oids.count);
        oids_free(&entry->oids);
        return true;
    }
    if (ledger->next_piece[segment] == ledger->plan.count)
        for (int i = 0; i < segments; i++)
            if (ledger->next_piece[i] < ledger->next_piece[segment])
                segment = i;
    if (ledger->next_piece[segment] == ledger->plan.count)
        return false;
    size_t piece = ledger->next_piece[segment]++;
    ledger->entries[piece].state = PIECE_STARTED;
    make_task(ledger, TASK_SEGMENT, piece, segment, task);
    return true;
}

bool ledger_next(struct ledger *ledger, int rank, struct task *task)
{
    return by_database(ledger) ? next_by_database(ledger, rank, task)
                               : next_by_query(ledger, task);
}

static void write_out(struct ledger *ledger, const char *bytes, size_t length)
{
    if (write_all(ledger->out, bytes, length) != 0)
        stop_all(1, "the report cannot be written to %s: %s\n", ledger->search->options->out,
                 strerror(errno));
}

void ledger_spool(void *to, const char *bytes, size_t length)
{
    struct ledger *ledger = to;
    while (length > 0) {
        ssize_t done = pwrite(ledger->spool, bytes, length, ledger->spool_end);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            stop_all(1, "results cannot be kept in TMPDIR: %s\n", strerror(errno));
        ledger->spool_end += done;
        bytes += done;
        length -= (size_t)done;
    }
}

static void unspool(struct ledger *ledger, off_t at, off_t length)
{
    char block[65536];
    while (length > 0) {
        size_t part = length < (off_t)sizeof block ? (size_t)length : sizeof block;
        ssize_t done = pread(ledger->spool, block, part, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            stop_all(1, "results kept in TMPDIR cannot be read: %s\n", strerror(errno));
        write_out(ledger, block, (size_t)done);
        at += done;
        length -= done;
    }
}

static bool same(const struct text *one, const struct text *other)
{
    return one->length == other->length &&
           (one->length == 0 || memcmp(one->bytes, other->bytes, one->length) == 0);
}

/* What comes once must be the same from every rank. The head of XML names the first query, and the
   tail of -outfmt 7 counts queries. */
static void write_piece(struct ledger *ledger, struct entry *entry)
{
    int format = ledger->search->options->format;
    if (!ledger->begun) {
        text_add(&ledger->head, entry->head.bytes, entry->head.length);
        text_add(&ledger->tail, entry->tail.bytes, entry->tail.length);
        write_out(ledger, entry->head.bytes, entry->head.length);
        ledger->begun = true;
    } else if ((format < 5 && !same(&ledger->head, &entry->head)) ||
               (format < 6 && !same(&ledger->tail, &entry->tail))) {
        stop_all(1, "the ranks' reports do not fit together: do all hosts have the same BLAST+ and "
                    "the same database?\n");
    }
    ledger->processed += entry->processed;
    unspool(ledger, entry->spooled, entry->spooled_length);
    entry_free(entry);
}

/* Writes all pieces that are complete with their whole groups. */
static void write_complete(struct ledger *ledger)
{
    const struct piece *pieces = ledger->plan.pieces;
    while (!ledger_finished(ledger)) {
        size_t end = ledger->written;
        while (end < ledger->plan.count &&
               pieces[end].group == pieces[ledger->written].group) {
            if (ledger->entries[end].state < PIECE_DONE)
                return;
            end++;
        }
        for (; ledger->written < end; ledger->written++)
            if (ledger->entries[ledger->written].state == PIECE_DONE)
                write_piece(ledger, &ledger->entries[ledger->written]);
    }
}

/* Serial BLAST+ treats a query that it cannot search otherwise when nothing else is in its batch:
   the group is then searched again in one piece. */
static void search_group_again(struct ledger *ledger, size_t piece)
{
    struct piece *pieces = ledger->plan.pieces;
    size_t first = piece, last = piece;
    while (first > 0 && pieces[first - 1].group == pieces[piece].group)
        first--;
    while (last + 1 < ledger->plan.count && pieces[last + 1].group == pieces[piece].group)
        last++;
    for (size_t i = first; i <= last; i++) {
        ledger->entries[i].state = PIECE_VOID;
        ledger->entries[i].edition++;
        text_free(&ledger->entries[i].head);
        text_free(&ledger->entries[i].tail);
    }
    pieces[first].end = pieces[last].end;
    pieces[first].count = pieces[last].first + pieces[last].count - pieces[first].first;
    pieces[first].partial = false;
    ledger->entries[first].state = PIECE_WAITING;
    if (ledger->waiting > first)
        ledger->waiting = first;
}

/* Every rank has the same to say about the options: each line is passed on once. */
static void pass_on(struct ledger *ledger, const struct text *complaints)
{
    const char *at = complaints->bytes, *end = at + complaints->length;
    while (at < end) {
        const char *next = line_end(at, end);
        struct text line = {0};
        text_add(&line, at, (size_t)(next - at));
        if (ledger->said.length == 0 || strstr(ledger->said.bytes, line.bytes) == NULL) {
            fputs(line.bytes, stderr);
            if (ledger->said.length < 65536)
                text_add(&ledger->said, line.bytes, line.length);
        }
        text_free(&line);
        at = next;
    }
}

static void take_hits(struct ledger *ledger, size_t piece, const struct result *result)
{
    struct entry *entry = &ledger->entries[piece];
    entry->unresolved |= result->unresolved;
    oids_merge(&entry->oids, result->oids.oid, result->oids.count);
    if (--entry->segments_left == 0) {
        /* A database without any sequence is refused by BLAST+: one more never hurts. */
        if (entry->oids.count == 0)
            oids_add(&entry->oids, 0);
        ledger->ready[ledger->ready_count++] = piece;
    }
}

bool ledger_take(struct ledger *ledger, struct arrival *arrival, off_t begin)
{
    const struct result *result = &arrival->result;
    size_t piece = (size_t)result->piece;
    struct entry *entry = &ledger->entries[piece];
    if (result->edition != entry->edition) {
        ledger->spool_end = begin;
        return true;
    }
    if (ledger->plan.pieces[piece].partial &&
        (result->status != 0 || result->about_queries)) {
        ledger->spool_end = begin;
        search_group_again(ledger, piece);
        return true;
    }
    if (result->status != 0)
        return false;
    if (result->kind == TASK_SEGMENT) {
        take_hits(ledger, piece, result);
        return true;
    }
    pass_on(ledger, &result->complaints);
    entry->state = PIECE_DONE;
    entry->spooled = begin;
    entry->spooled_length = ledger->spool_end - begin;
    entry->processed = arrival->processed;
    entry->head = arrival->head;
    entry->tail = arrival->tail;
    arrival->head = arrival->tail = (struct text){0};
    write_complete(ledger);
    return true;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger->search->options->format == 7 && ledger->tail.length > 0) {
        text_clear(&ledger->tail);
        text_say(&ledger->tail, "# BLAST processed %lld queries\n", ledger->processed);
    }
    write_out(ledger, ledger->tail.bytes, ledger->tail.length);
}
