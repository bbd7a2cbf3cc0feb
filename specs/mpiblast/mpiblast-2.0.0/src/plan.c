#include "plan.h"

#include "text.h"

#include <ctype.h>
#include <stdlib.h>

struct record {
    const char *begin, *end;
    long long residues;
    bool named;
};

static bool is_comment(char first)
{
    return first == ';' || first == '#' || first == '!';
}

static long long residues_in(const char *at, const char *end)
{
    long long count = 0;
    for (; at < end; at++)
        count += isalpha((unsigned char)*at) || *at == '*';
    return count;
}

/* Reads the record at `at`: its definition line, if it has one, and the lines up to the next. */
static struct record read_record(const char *at, const char *end)
{
    struct record record = {.begin = at};
    if (*at == '>') {
        const char *next = line_end(at, end);
        record.named = next - at > 1 && !isspace((unsigned char)at[1]);
        at = next;
    }
    while (at < end && *at != '>') {
        const char *next = line_end(at, end);
        if (!is_comment(*at))
            record.residues += residues_in(at, next);
        at = next;
    }
    record.end = at;
    return record;
}

static void add_piece(struct plan *plan, struct piece piece)
{
    if ((plan->count & (plan->count + 1)) == 0) /* room for 1, 3, 7, … */
        plan->pieces = must_grow(plan->pieces, 2 * plan->count + 1, sizeof *plan->pieces);
    plan->pieces[plan->count++] = piece;
}

static void mark_partial(struct plan *plan)
{
    for (size_t i = 1; i < plan->count; i++)
        if (plan->pieces[i].group == plan->pieces[i - 1].group)
            plan->pieces[i].partial = plan->pieces[i - 1].partial = true;
}

static void make_one_piece(struct plan *plan, size_t length)
{
    plan->count = 0;
    add_piece(plan, (struct piece){.end = length, .count = plan->queries});
}

void plan_make(struct plan *plan, const char *bytes, size_t length, const struct plan_wish *wish)
{
    const char *at = bytes, *end = bytes + length;
    long long in_batch = 0, in_piece = 0, group = 0;
    struct piece piece = {0};
    *plan = (struct plan){0};
    while (at < end) {
        struct record record = read_record(at, end);
        at = record.end;
        piece.end = (size_t)(at - bytes);
        if (record.residues == 0 && *record.begin != '>')
            continue; /* blank lines and comments before the first query */
        plan->queries++;
        plan->nameless |= !record.named;
        piece.count++;
        in_batch += record.residues;
        in_piece += record.residues;
        bool batch_ends = in_batch >= wish->batch;
        bool piece_ends = in_piece >= wish->target;
        if (wish->whole_groups || wish->target >= wish->batch)
            piece_ends = piece_ends && batch_ends;
        else
            piece_ends = piece_ends || batch_ends;
        if (piece_ends) {
            piece.group = group;
            add_piece(plan, piece);
            piece = (struct piece){.begin = piece.end, .first = plan->queries};
            in_piece = 0;
        }
        if (batch_ends) {
            in_batch = 0;
            group += piece_ends;
        }
    }
    if (piece.count > 0 || plan->count == 0) {
        piece.end = length;
        piece.group = group;
        add_piece(plan, piece);
    }
    if (wish->one_piece || plan->nameless)
        make_one_piece(plan, length);
    mark_partial(plan);
}

void plan_free(struct plan *plan)
{
    free(plan->pieces);
    *plan = (struct plan){0};
}
