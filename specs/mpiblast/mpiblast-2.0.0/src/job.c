#include "job.h"

#include "child.h"
#include "scratch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Serial BLAST+ first ranks more subjects than it will report, re-aligns those with a finer method
   and keeps the best. A segment therefore gives away everything that may be in that first list:
   options that choose from it are left out here and act later, on the selection. */
static const char *const later[] = {
    "-outfmt", "-num_descriptions", "-num_alignments", "-max_target_seqs", "-max_hsps", "-evalue",
    "-perc_identity", "-qcov_hsp_perc", "-comp_based_stats", "-use_sw_tback", "-subject_besthit",
    "-sorthits", "-sorthsps", "-line_length", "-show_gis", NULL,
};

static bool acts_later(const char *name)
{
    for (int i = 0; later[i] != NULL; i++)
        if (strcmp(later[i], name) == 0)
            return true;
    return false;
}

static long number_or(const struct options *options, const char *name, long otherwise)
{
    const char *value = option_value(options, name);
    return value ? strtol(value, NULL, 10) : otherwise;
}

static void add_number(struct words *words, const char *name, const char *format, double number)
{
    char value[64];
    snprintf(value, sizeof value, format, number);
    words_add(words, name);
    words_add(words, value);
}

/* How many subjects the first list of serial BLAST+ may hold (GetPrelimHitlistSize in its sources,
   the largest of any version), and some more since the finer alignment may change their order. */
static double first_list(const struct options *options, bool composition)
{
    long wanted = number_or(options, "-max_target_seqs", 500);
    long descriptions = number_or(options, "-num_descriptions", 0);
    long alignments = number_or(options, "-num_alignments", 0);
    wanted = descriptions > wanted ? descriptions : wanted;
    wanted = alignments > wanted ? alignments : wanted;
    double listed = (double)wanted + 50;
    if (composition) {
        double least = getenv("ADAPTIVE_CBS") ? 1500 : 1050;
        listed = 2.0 * (double)wanted + 50;
        listed = listed > least ? listed : least;
    }
    return listed * 1.1 + 20;
}

/* The threshold of the first list is five times the E-value where composition-based statistics
   follow. */
static void add_first_stage(struct words *words, const struct options *options)
{
    bool composition = strcmp(options->program, "blastn") != 0 &&
                       strcmp(options->program, "tblastx") != 0;
    const char *evalue = option_value(options, "-evalue");
    add_number(words, "-max_target_seqs", "%.0f", first_list(options, composition));
    add_number(words, "-max_hsps", "%.0f", 1);
    add_number(words, "-evalue", "%.17g",
               (evalue ? strtod(evalue, NULL) : 10) * (composition ? 5 : 1));
    add_number(words, "-outfmt", "%.0f", 5);
    if (composition && !option_given(options, "-ungapped"))
        add_number(words, "-comp_based_stats", "%.0f", 0);
}

static void make_command(struct words *words, const struct options *options, bool first_stage,
                         const char *alias)
{
    words_add(words, options->program);
    for (int i = 0; i < options->given_count; i++) {
        const struct option *option = &options->given[i];
        if (first_stage && acts_later(option->name))
            continue;
        words_add(words, option->name);
        if (alias != NULL && strcmp(option->name, "-db") == 0)
            words_add(words, alias);
        else if (option->value != NULL)
            words_add(words, option->value);
    }
    if (first_stage)
        add_first_stage(words, options);
}

/* Runs the program; the bytes that it wrote stay mapped in the result. */
static void run_program(const struct words *command, const struct task *task,
                        struct result *result)
{
    int in = scratch_nameless(), out = scratch_nameless(), err = scratch_nameless();
    struct text complaints = {0};
    result->status = -1;
    if (in < 0 || out < 0 || err < 0 ||
        write_all(in, task->queries.bytes, task->queries.length) != 0 || lseek(in, 0, SEEK_SET)) {
        text_say(&complaints, "temporary files (TMPDIR): %s\n", strerror(errno));
    } else {
        result->status = child_run(command, in, out, err, &complaints);
        if (read_back(err, &complaints) != 0)
            result->status = -1;
    }
    renumber_queries(&result->complaints, complaints.bytes, complaints.length, task->first_query);
    result->about_queries = complaints.length > 0 && strstr(complaints.bytes, "Query_") != NULL;
    text_free(&complaints);
    struct stat size = {0};
    if (result->status == 0 && fstat(out, &size) == 0 && size.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)size.st_size, PROT_READ, MAP_PRIVATE, out, 0);
        if (bytes == MAP_FAILED) {
            text_say(&result->complaints, "its report cannot be read: %s\n", strerror(errno));
            result->status = -1;
        } else {
            result->report.bytes = bytes;
            result->report.length = (size_t)size.st_size;
        }
    }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (err >= 0)
        close(err);
}

static void unmap(struct report *report)
{
    if (report->length > 0)
        munmap((void *)report->bytes, report->length);
    *report = (struct report){0};
}

static void collect_hits(const struct search *search, struct result *result)
{
    struct text named = {0};
    hits_read(result->report.bytes, result->report.length, &result->oids, &named);
    if (named.length > 0)
        result->unresolved = !hits_resolve(&named, search->options->database,
                                           search->database->protein, &result->oids);
    text_free(&named);
    unmap(&result->report);
}

static char *make_alias(const struct search *search, const struct task *task, struct text *why)
{
    const struct database *database = search->database;
    if (task->kind == TASK_SELECTION)
        return database_selection(database, task->oids.oid, task->oids.count, why);
    long long each = database->sequences / search->segments;
    long long more = database->sequences % search->segments;
    long long first = task->segment * each + (task->segment < more ? task->segment : more);
    return database_segment(database, task->segment, first,
                            first + each + (task->segment < more), why);
}

void job_run(const struct search *search, const struct task *task, struct result *result)
{
    struct timespec begin, end;
    struct words command = {0};
    char *alias = NULL;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    *result = (struct result){
        .kind = task->kind,
        .piece = task->piece,
        .edition = task->edition,
        .segment = task->segment,
        .status = -1,
        .place.first_query = task->first_query,
    };
    if (task->kind != TASK_WHOLE)
        alias = make_alias(search, task, &result->complaints);
    if (task->kind == TASK_WHOLE || alias != NULL) {
        make_command(&command, search->options, task->kind == TASK_SEGMENT, alias);
        run_program(&command, task, result);
    }
    if (result->status == 0 && task->kind == TASK_SEGMENT) {
        collect_hits(search, result);
    } else if (result->status == 0) {
        const char *bytes = result->report.bytes;
        size_t length = result->report.length;
        if (!report_split(&result->report, search->options, bytes, length)) {
            text_say(&result->complaints, "its report does not look like -outfmt %d\n",
                     search->options->format);
            result->status = -1;
        }
        result->about_queries |= report_speaks_of_queries(&result->report, search->options);
        if (task->kind == TASK_SELECTION)
            result->place.database = search->options->database;
    }
    words_free(&command);
    free(alias);
    clock_gettime(CLOCK_MONOTONIC, &end);
    result->seconds = (double)(end.tv_sec - begin.tv_sec) +
                      (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

void task_free(struct task *task)
{
    text_free(&task->queries);
    oids_free(&task->oids);
}

void result_free(struct result *result)
{
    text_free(&result->complaints);
    oids_free(&result->oids);
    unmap(&result->report);
}
