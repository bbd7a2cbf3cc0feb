#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct refusal {
    const char *name;
    const char *why;
};

static const char *const flags[] = {
    "-lcase_masking", "-ungapped", "-parse_deflines", "-show_gis", "-html", "-remote",
    "-use_sw_tback", "-subject_besthit", "-no_greedy", "-no_taxid_expansion", "-h", "-help",
    "-version", "-version-full", "-xmlhelp", NULL,
};

static const struct refusal refused_always[] = {
    {"-remote", "the search runs on the ranks, not at NCBI"},
    {"-entrez_query", "it needs -remote"},
    {"-html", "HTML reports cannot be joined"},
    {"-mt_mode", "the ranks already split the queries; -num_threads is for threads in a rank"},
    {"-in_pssm", "a checkpoint is one query; run the program itself"},
    {"-import_search_strategy", "give the options themselves"},
    {"-export_search_strategy", "each rank would write another part of it"},
    {"-h", "see mpiblast --help, and the program's own -help"},
    {"-help", "see mpiblast --help, and the program's own -help"},
    {"-version", "see mpiblast --version, and the program's own -version"},
    {"-version-full", "see mpiblast --version, and the program's own -version"},
    {"-xmlhelp", "see mpiblast --help, and the program's own -help"},
    {NULL, NULL},
};

/* What each of these leaves out depends on more than one segment can see, or changes the size of
   the database that E-values are computed from. */
static const struct refusal refused_by_database[] = {
    {"-culling_limit", "which hits are culled depends on hits in other segments"},
    {"-best_hit_overhang", "which hit is best depends on hits in other segments"},
    {"-best_hit_score_edge", "which hit is best depends on hits in other segments"},
    {"-gilist", "a list of sequences already restricts the database"},
    {"-negative_gilist", "a list of sequences already restricts the database"},
    {"-seqidlist", "a list of sequences already restricts the database"},
    {"-negative_seqidlist", "a list of sequences already restricts the database"},
    {"-ipglist", "a list of sequences already restricts the database"},
    {"-negative_ipglist", "a list of sequences already restricts the database"},
    {"-taxids", "a list of taxa already restricts the database"},
    {"-negative_taxids", "a list of taxa already restricts the database"},
    {"-taxidlist", "a list of taxa already restricts the database"},
    {"-negative_taxidlist", "a list of taxa already restricts the database"},
    {"-subject", "there is no database to segment"},
    {"-use_index", "the index is for the whole database"},
    {"-index_name", "the index is for the whole database"},
    {NULL, NULL},
};

static bool is_listed(const char *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static const char *refused(const struct refusal *list, const char *name)
{
    for (; list->name != NULL; list++)
        if (strcmp(list->name, name) == 0)
            return list->why;
    return NULL;
}

const char *option_value(const struct options *options, const char *name)
{
    const char *value = NULL;
    for (int i = 0; i < options->given_count; i++)
        if (strcmp(options->given[i].name, name) == 0)
            value = options->given[i].value;
    return value;
}

bool option_given(const struct options *options, const char *name)
{
    for (int i = 0; i < options->given_count; i++)
        if (strcmp(options->given[i].name, name) == 0)
            return true;
    return false;
}

static bool is_true(const char *value)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "1", NULL};
    if (value == NULL)
        return false;
    for (int i = 0; yes[i] != NULL; i++)
        if (strcasecmp(value, yes[i]) == 0)
            return true;
    return false;
}

static bool read_count(const char *value, int *count)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || number < 1 || number > 1000000)
        return false;
    *count = (int)number;
    return true;
}

static bool read_own(struct options *options, const char *word, enum reading *reading,
                     struct text *why)
{
    const char *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : strlen(word);
    value = value ? value + 1 : NULL;
#define IS(name) (length == strlen(name) && strncmp(word, name, length) == 0)
    if (IS("--help") && value == NULL) {
        *reading = READ_HELP;
        return true;
    }
    if (IS("--version") && value == NULL) {
        *reading = READ_VERSION;
        return true;
    }
    if (IS("--verbose") && value == NULL) {
        options->verbose = true;
        return true;
    }
    if (IS("--segment") && value != NULL) {
        if (strcmp(value, "query") == 0)
            options->segmentation = SEGMENT_QUERY;
        else if (strcmp(value, "database") == 0)
            options->segmentation = SEGMENT_DATABASE;
        else
            text_say(why, "--segment=%s: say query or database", value);
        return why->length == 0;
    }
    if ((IS("--segments") || IS("--pieces")) && value != NULL) {
        if (!read_count(value, IS("--segments") ? &options->segments : &options->pieces))
            text_say(why, "%s: a number from 1 to 1000000 is wanted", word);
        return why->length == 0;
    }
#undef IS
    text_say(why,
             "%s: no such option of mpiblast (--segment=query|database, --segments=N, --pieces=N,"
             " --verbose, --help, --version)",
             word);
    return false;
}

/* A word that begins an option: a minus and a letter. "-3" and "-" are values. */
static bool begins_option(const char *word)
{
    return word[0] == '-' && ((word[1] >= 'a' && word[1] <= 'z') ||
                              (word[1] >= 'A' && word[1] <= 'Z'));
}

static void keep(struct options *options, char *name, char *value)
{
    options->given = must_grow(options->given, (size_t)options->given_count + 1,
                               sizeof *options->given);
    options->given[options->given_count++] = (struct option){name, value};
}

static bool read_given(struct options *options, int count, char **words, struct text *why)
{
    for (int i = 0; i < count; i++) {
        if (!begins_option(words[i])) {
            text_say(why, "%s: an option of %s was expected here", words[i], options->program);
            return false;
        }
        char *name = must_copy(words[i]);
        char *equals = strchr(name, '=');
        char *value = NULL;
        if (equals != NULL) {
            value = must_copy(equals + 1);
            *equals = '\0';
        } else if (!is_listed(flags, name)) {
            if (i + 1 == count || begins_option(words[i + 1])) {
                text_say(why, "%s: its value is missing", name);
                free(name);
                return false;
            }
            value = must_copy(words[++i]);
        }
        if (option_given(options, name)) {
            text_say(why, "%s: given twice", name);
            free(name);
            free(value);
            return false;
        }
        keep(options, name, value);
    }
    return true;
}

/* -query and -out are ours: the ranks get their queries from rank 0, which writes the results. */
static char *take(struct options *options, const char *name)
{
    for (int i = 0; i < options->given_count; i++) {
        if (strcmp(options->given[i].name, name) != 0)
            continue;
        char *value = options->given[i].value;
        free(options->given[i].name);
        options->given_count--;
        memmove(options->given + i, options->given + i + 1,
                (size_t)(options->given_count - i) * sizeof *options->given);
        return value;
    }
    return NULL;
}

static bool read_program(struct options *options, const char *word, struct text *why)
{
    static const char *const programs[] = {"blastp", "blastn", "blastx", "tblastn", "tblastx",
                                           NULL};
    if (!is_listed(programs, word)) {
        text_say(why, "%s: not a program that mpiblast can run (blastp, blastn, blastx, tblastn, "
                 "tblastx)", word);
        return false;
    }
    options->program = word;
    options->protein_database = strcmp(word, "blastp") == 0 || strcmp(word, "blastx") == 0;
    return true;
}

static bool read_format(struct options *options, struct text *why)
{
    const char *value = option_value(options, "-outfmt");
    if (value == NULL)
        return true;
    char *end;
    long number = strtol(value, &end, 10);
    if (end == value || (*end != '\0' && *end != ' ') || number < 0 || number > 18) {
        text_say(why, "-outfmt %s: no such format", value);
        return false;
    }
    if (number > 7 && number != 10) {
        text_say(why, "-outfmt %ld: reports of this format cannot be joined (0 to 7 and 10 can)",
                 number);
        return false;
    }
    options->format = (int)number;
    return true;
}

static bool check(struct options *options, struct text *why)
{
    for (int i = 0; i < options->given_count; i++) {
        const char *name = options->given[i].name;
        const char *reason = refused(refused_always, name);
        if (reason == NULL && options->segmentation == SEGMENT_DATABASE)
            reason = refused(refused_by_database, name);
        if (reason != NULL) {
            text_say(why, "%s: refused%s: %s", name,
                     refused(refused_always, name) ? "" : " with --segment=database", reason);
            return false;
        }
    }
    if (!read_format(options, why))
        return false;
    options->database = option_value(options, "-db");
    if (options->database == NULL && !option_given(options, "-subject")) {
        text_say(why, "-db: missing (the database to search)");
        return false;
    }
    options->parse_deflines = option_given(options, "-parse_deflines");
    bool blastn = strcmp(options->program, "blastn") == 0;
    bool sums = option_given(options, "-ungapped") || is_true(option_value(options, "-sum_stats"));
    if (blastn && sums) {
        text_say(why, "%s: refused with blastn: results would depend on batches of queries that "
                 "adapt to what they find",
                 option_given(options, "-ungapped") ? "-ungapped" : "-sum_stats");
        return false;
    }
    options->batches_matter = sums || (!blastn && strcmp(options->program, "blastp") != 0);
    if (options->format >= 1 && options->format <= 4)
        options->one_piece = "-outfmt 1 to 4 number the queries";
    else if (options->batches_matter && option_given(options, "-query_loc"))
        options->one_piece = "with -query_loc the batches of queries cannot be foreseen";
    return true;
}

enum reading options_read(struct options *options, int count, char **words, struct text *why)
{
    enum reading reading = READ_RUN;
    int at = 1;
    *options = (struct options){0};
    for (; at < count && strncmp(words[at], "--", 2) == 0; at++) {
        if (!read_own(options, words[at], &reading, why))
            return READ_REFUSED;
        if (reading != READ_RUN)
            return reading;
    }
    if (at == count) {
        text_say(why, "the program is missing: mpiblast [OPTION…] blastp -query FILE -db NAME …");
        return READ_REFUSED;
    }
    if (!read_program(options, words[at], why) ||
        !read_given(options, count - at - 1, words + at + 1, why))
        return READ_REFUSED;
    options->query = take(options, "-query");
    if (options->query == NULL)
        options->query = must_copy("-");
    options->out = take(options, "-out");
    if (options->out == NULL)
        options->out = must_copy("-");
    return check(options, why) ? READ_RUN : READ_REFUSED;
}

void options_free(struct options *options)
{
    for (int i = 0; i < options->given_count; i++) {
        free(options->given[i].name);
        free(options->given[i].value);
    }
    free(options->given);
    free(options->query);
    free(options->out);
    *options = (struct options){0};
}

long long batch_residues(const struct options *options)
{
    const char *chosen = getenv("BATCH_SIZE"); /* serial BLAST+ heeds it too */
    long long residues = chosen ? strtoll(chosen, NULL, 10) : 0;
    if (residues > 0)
        return residues;
    if (strcmp(options->program, "blastn") == 0)
        return 100000;
    if (strcmp(options->program, "tblastn") == 0)
        return 20000;
    return strcmp(options->program, "blastp") == 0 ? 10000 : 10002;
}
