#include "hits.h"

#include "child.h"
#include "scratch.h"

#include <stdlib.h>
#include <string.h>

void oids_add(struct oids *oids, long long oid)
{
    if (oids->count == oids->room) {
        oids->room = oids->room ? 2 * oids->room : 64;
        oids->oid = must_grow(oids->oid, oids->room, sizeof *oids->oid);
    }
    oids->oid[oids->count++] = oid;
}

static int ascending(const void *a, const void *b)
{
    long long one = *(const long long *)a, other = *(const long long *)b;
    return (one > other) - (one < other);
}

void oids_sort(struct oids *oids)
{
    size_t kept = 0;
    if (oids->count > 0)
        qsort(oids->oid, oids->count, sizeof *oids->oid, ascending);
    for (size_t i = 0; i < oids->count; i++)
        if (kept == 0 || oids->oid[kept - 1] != oids->oid[i])
            oids->oid[kept++] = oids->oid[i];
    oids->count = kept;
}

void oids_merge(struct oids *into, const long long *more, size_t count)
{
    for (size_t i = 0; i < count; i++)
        oids_add(into, more[i]);
    oids_sort(into);
}

void oids_free(struct oids *oids)
{
    free(oids->oid);
    *oids = (struct oids){0};
}

static void add_unescaped(struct text *out, const char *at, const char *end)
{
    static const struct {
        const char *escape;
        char stands_for;
    } escapes[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    while (at < end) {
        size_t used = 0;
        for (size_t i = 0; i < sizeof escapes / sizeof *escapes && used == 0; i++) {
            if (starts_with(at, (size_t)(end - at), escapes[i].escape)) {
                used = strlen(escapes[i].escape);
                text_add(out, &escapes[i].stands_for, 1);
            }
        }
        if (used == 0)
            text_add(out, at, 1);
        at += used ? used : 1;
    }
}

void hits_read(const char *xml, size_t length, struct oids *oids, struct text *named)
{
    static const char open[] = "<Hit_id>", close[] = "</Hit_id>", number[] = "gnl|BL_ORD_ID|";
    const char *at = xml, *end = xml + length;
    while (at < end && (at = memmem(at, (size_t)(end - at), open, strlen(open))) != NULL) {
        at += strlen(open);
        const char *stop = memmem(at, (size_t)(end - at), close, strlen(close));
        if (stop == NULL)
            break;
        if (starts_with(at, (size_t)(stop - at), number)) {
            oids_add(oids, strtoll(at + strlen(number), NULL, 10));
        } else {
            add_unescaped(named, at, stop);
            text_add(named, "\n", 1);
        }
        at = stop;
    }
    oids_sort(oids);
}

static size_t read_numbers(const struct text *said, struct oids *oids)
{
    size_t lines = 0;
    const char *at = said->bytes, *end = at + said->length;
    while (at < end) {
        char *stop;
        long long oid = strtoll(at, &stop, 10);
        if (stop != at && oid >= 0) {
            oids_add(oids, oid);
            lines++;
        }
        at = line_end(at, end);
    }
    return lines;
}

bool hits_resolve(const struct text *named, const char *database, bool protein, struct oids *oids)
{
    struct words command = {0};
    struct text said = {0}, complaints = {0};
    const char *list = scratch_path("hits");
    bool found = false;
    if (list != NULL && write_file(list, named->bytes, named->length) == 0) {
        words_add(&command, "blastdbcmd");
        words_add(&command, "-db");
        words_add(&command, database);
        words_add(&command, "-dbtype");
        words_add(&command, protein ? "prot" : "nucl");
        words_add(&command, "-entry_batch");
        words_add(&command, list);
        words_add(&command, "-get_dups");
        words_add(&command, "-outfmt");
        words_add(&command, "%o");
        found = child_ask(&command, &said, &complaints) == 0 && complaints.length == 0 &&
                said.length > 0 && read_numbers(&said, oids) > 0;
        oids_sort(oids);
    }
    words_free(&command);
    text_free(&said);
    text_free(&complaints);
    return found;
}
