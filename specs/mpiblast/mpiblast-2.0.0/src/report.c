#include "report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { TABULAR = 6, COMMENTED = 7, CSV = 10, XML = 5 };

static const char commented_tail[] = "# BLAST processed ";
static const char commented_database[] = "# Database: ";
static const char pairwise_query[] = "Query= ";
static const char pairwise_end[] = "Effective search space used:";
static const char xml_head_end[] = "<BlastOutput_iterations>";
static const char xml_tail[] = "</BlastOutput_iterations>";

/* How XML passes on what is said of a single query. */
static const char xml_message[] = "<Iteration_message>Query_";

static const char *last_line(const char *bytes, const char *end)
{
    const char *at = end;
    if (at > bytes && at[-1] == '\n')
        at--;
    while (at > bytes && at[-1] != '\n')
        at--;
    return at;
}

static bool split_commented(struct report *report)
{
    const char *end = report->bytes + report->length;
    const char *tail = last_line(report->bytes, end);
    if (!starts_with(tail, (size_t)(end - tail), commented_tail))
        return false;
    report->processed = strtoll(tail + strlen(commented_tail), NULL, 10);
    report->tail = (size_t)(end - tail);
    return true;
}

/* The head ends before the first query; the tail begins behind the last line that says how large
   the search space was, which every query has, and the blank lines after it. */
static bool split_pairwise(struct report *report)
{
    const char *end = report->bytes + report->length, *head = NULL, *tail = NULL;
    for (const char *at = report->bytes; at < end;) {
        const char *next = line_end(at, end);
        if (head == NULL && starts_with(at, (size_t)(next - at), pairwise_query))
            head = at;
        if (starts_with(at, (size_t)(next - at), pairwise_end))
            tail = next;
        at = next;
    }
    if (head == NULL || tail == NULL || tail < head)
        return false;
    while (tail < end && *tail == '\n')
        tail++;
    report->head = (size_t)(head - report->bytes);
    report->tail = (size_t)(end - tail);
    return true;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

static bool is_element(const char *at, const char *end, const char *tag)
{
    at = skip_blanks(at, end);
    return starts_with(at, (size_t)(end - at), tag);
}

static bool split_xml(struct report *report)
{
    const char *end = report->bytes + report->length, *head = NULL, *tail = NULL;
    for (const char *at = report->bytes; at < end;) {
        const char *next = line_end(at, end);
        if (head == NULL && is_element(at, next, xml_head_end))
            head = next;
        if (is_element(at, next, xml_tail))
            tail = at;
        at = next;
    }
    if (head == NULL || tail == NULL || tail < head)
        return false;
    report->head = (size_t)(head - report->bytes);
    report->tail = (size_t)(end - tail);
    return true;
}

bool report_split(struct report *report, const struct options *options, const char *bytes,
                  size_t length)
{
    *report = (struct report){.bytes = bytes, .length = length};
    if (length == 0 || options->format == TABULAR || options->format == CSV)
        return true;
    if (options->format == COMMENTED)
        return split_commented(report);
    return options->format == XML ? split_xml(report) : split_pairwise(report);
}

bool report_speaks_of_queries(const struct report *report, const struct options *options)
{
    return options->format == XML && report->length > 0 &&
           memmem(report->bytes, report->length, xml_message, strlen(xml_message)) != NULL;
}

void renumber_queries(struct text *out, const char *bytes, size_t length, long long first_query)
{
    static const char mark[] = "Query_";
    const char *at = bytes, *end = bytes + length;
    while (at < end) {
        const char *found = memmem(at, (size_t)(end - at), mark, strlen(mark));
        const char *digits = found ? found + strlen(mark) : end;
        text_add(out, at, (size_t)(digits - at));
        at = digits;
        long long number = 0;
        while (at < end && isdigit((unsigned char)*at) && number < 1000000000000LL)
            number = number * 10 + (*at++ - '0');
        if (at > digits)
            text_say(out, "%lld", number + first_query);
    }
}

static void say_escaped(struct text *out, const char *string)
{
    for (; *string != '\0'; string++) {
        switch (*string) {
        case '&': text_say(out, "&amp;"); break;
        case '<': text_say(out, "&lt;"); break;
        case '>': text_say(out, "&gt;"); break;
        case '"': text_say(out, "&quot;"); break;
        case '\'': text_say(out, "&apos;"); break;
        default: text_add(out, string, 1);
        }
    }
}

static void renumber_iteration(struct text *out, const char *at, const char *end,
                               long long first_query)
{
    const char *digits = (const char *)memchr(at, '>', (size_t)(end - at)) + 1;
    text_add(out, at, (size_t)(digits - at));
    text_say(out, "%lld", strtoll(digits, NULL, 10) + first_query);
    while (digits < end && isdigit((unsigned char)*digits))
        digits++;
    text_add(out, digits, (size_t)(end - digits));
}

/* True when the line had to be changed: `out` then holds it as it should be. */
static bool change_line(struct text *out, const char *at, const char *end,
                        const struct options *options, const struct report_place *place)
{
    size_t length = (size_t)(end - at);
    if (options->format == COMMENTED) {
        if (place->database == NULL || *at != '#' || !starts_with(at, length, commented_database))
            return false;
        text_say(out, "%s%s\n", commented_database, place->database);
        return true;
    }
    if (options->format != XML)
        return false;
    if (is_element(at, end, "<Iteration_iter-num>")) {
        renumber_iteration(out, at, end, place->first_query);
        return true;
    }
    if (!options->parse_deflines && (is_element(at, end, "<Iteration_query-ID>Query_") ||
                                     is_element(at, end, xml_message))) {
        renumber_queries(out, at, length, place->first_query);
        return true;
    }
    if (place->database != NULL && is_element(at, end, "<BlastOutput_db>")) {
        text_say(out, "  <BlastOutput_db>");
        say_escaped(out, place->database);
        text_say(out, "</BlastOutput_db>\n");
        return true;
    }
    return false;
}

static void put(void *to, const char *bytes, size_t length)
{
    text_add(to, bytes, length);
}

static void hand_over(const char *at, const char *end, const struct options *options,
                      const struct report_place *place, report_sink *sink, void *to)
{
    if (options->format != COMMENTED && options->format != XML) {
        sink(to, at, (size_t)(end - at));
        return;
    }
    struct text changed = {0};
    const char *unchanged = at;
    while (at < end) {
        const char *next = line_end(at, end);
        text_clear(&changed);
        if (change_line(&changed, at, next, options, place)) {
            sink(to, unchanged, (size_t)(at - unchanged));
            sink(to, changed.bytes, changed.length);
            unchanged = next;
        }
        at = next;
    }
    sink(to, unchanged, (size_t)(end - unchanged));
    text_free(&changed);
}

void report_body(const struct report *report, const struct options *options,
                 const struct report_place *place, report_sink *sink, void *to)
{
    hand_over(report->bytes + report->head, report->bytes + report->length - report->tail, options,
              place, sink, to);
}

void report_head(const struct report *report, const struct options *options,
                 const struct report_place *place, struct text *head)
{
    hand_over(report->bytes, report->bytes + report->head, options, place, put, head);
}
