/* mpiblast: BLAST+ searches over the ranks of an MPI job, with the output of the serial search. */

#include "child.h"
#include "coordinator.h"
#include "database.h"
#include "options.h"
#include "scratch.h"
#include "stop.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "Usage: mpiexec -n RANKS mpiblast [OPTION...] PROGRAM -query FILE -db NAME [BLAST+ OPTION...]\n"
    "\n"
    "Runs PROGRAM (blastp, blastn, blastx, tblastn or tblastx of BLAST+) on all ranks and joins the\n"
    "results: the output is that of the serial program.\n"
    "\n"
    "  --segment=query      give the ranks different queries (the default)\n"
    "  --segment=database   give the ranks different parts of the database\n"
    "  --segments=N         parts of the database (default: the number of ranks)\n"
    "  --pieces=N           parts of the query set to aim at\n"
    "  --verbose            say on standard error which rank searched what, and how long\n"
    "  --help, --version\n"
    "\n"
    "See mpiblast(1).\n";

/* What rank 0 alone has: the queries and where the report goes. */
struct input {
    struct text queries;
    int out, spool;
};

static bool read_queries(const char *path, struct text *queries, struct text *why)
{
    bool standard = strcmp(path, "-") == 0;
    int file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    char block[65536];
    ssize_t length = file < 0 ? -1 : 0;
    while (file >= 0 && (length = read(file, block, sizeof block)) != 0) {
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            break;
        text_add(queries, block, (size_t)length);
    }
    if (length < 0)
        text_say(why, "-query %s: %s\n", path, strerror(errno));
    if (file >= 0 && !standard)
        close(file);
    return length == 0;
}

static bool open_files(const struct options *options, struct input *input, struct text *why)
{
    input->out = STDOUT_FILENO;
    if (strcmp(options->out, "-") != 0)
        input->out = open(options->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (input->out < 0) {
        text_say(why, "-out %s: %s\n", options->out, strerror(errno));
        return false;
    }
    input->spool = scratch_nameless();
    if (input->spool < 0) {
        text_say(why, "temporary files (TMPDIR): %s\n", strerror(errno));
        return false;
    }
    return true;
}

/* True when `why` is empty on all ranks; else the lowest rank with a reason says it. */
static bool all_agree(int rank, const struct text *why)
{
    int mine = why->length > 0 ? rank : INT_MAX, first;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == rank)
        fprintf(stderr, "mpiblast: %s%s", why->bytes,
                why->bytes[why->length - 1] == '\n' ? "" : "\n");
    return first == INT_MAX;
}

static void look_for(const char *program, struct text *why)
{
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length;
    if (program_exists(program))
        return;
    MPI_Get_processor_name(host, &length);
    text_say(why, "%s: not found in PATH on %s; the BLAST+ programs are in the package ncbi-blast+\n",
             program, host);
}

static struct plan_wish wish_for(const struct options *options, int ranks, size_t length,
                                 bool segmented)
{
    long long pieces = options->pieces ? options->pieces : (segmented ? 2 : 8) * ranks;
    struct plan_wish wish = {
        .batch = batch_residues(options),
        .whole_groups = segmented || options->batches_matter,
        .one_piece = options->one_piece != NULL ||
                     (ranks == 1 && !segmented && options->pieces == 0),
    };
    wish.target = (long long)length / pieces + 1;
    if (wish.target > 100 * wish.batch)
        wish.target = 100 * wish.batch;
    return wish;
}

static bool run(const struct options *options, int rank, int ranks)
{
    struct text why = {0}, packed = {0};
    struct input input = {0};
    struct database database = {0};
    struct search search = {.options = options, .segments = 1};
    bool segmented = false;

    look_for(options->program, &why);
    if (options->segmentation == SEGMENT_DATABASE) {
        search.segments = options->segments ? options->segments : ranks;
        segmented = search.segments > 1;
        if (segmented)
            look_for("blastdbcmd", &why);
    }
    if (!all_agree(rank, &why))
        return false;
    if (rank == 0 && read_queries(options->query, &input.queries, &why) &&
        (!segmented || database_describe(&database, options, &why)))
        open_files(options, &input, &why);
    if (!all_agree(rank, &why))
        return false;
    if (segmented) {
        if (rank == 0) {
            database_pack(&database, &packed);
            wire_share(&packed);
        } else {
            wire_share(&packed);
            database_unpack(&database, packed.bytes, packed.length);
        }
        if (search.segments > database.sequences)
            search.segments = (int)database.sequences;
        search.database = &database;
    }
    if (rank == 0) {
        if (options->one_piece != NULL && ranks > 1)
            fprintf(stderr, "mpiblast: %s: they are searched in one piece\n", options->one_piece);
        struct plan_wish wish = wish_for(options, ranks, input.queries.length, segmented);
        coordinate(&search, input.queries.length ? input.queries.bytes : "", input.queries.length,
                   &wish, input.out, input.spool);
        close(input.spool);
        if (input.out != STDOUT_FILENO && close(input.out) != 0)
            text_say(&why, "-out %s: %s\n", options->out, strerror(errno));
    } else {
        work(&search);
    }
    bool written = all_agree(rank, &why);
    text_free(&input.queries);
    text_free(&packed);
    text_free(&why);
    database_free(&database);
    return written;
}

static bool first_of_all(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *rank = getenv(names[i]);
        if (rank != NULL && strcmp(rank, "0") != 0)
            return false;
    }
    return true;
}

int main(int count, char **words)
{
    struct options options;
    struct text why = {0};
    int level, rank, ranks;
    enum reading reading = options_read(&options, count, words, &why);
    if (reading == READ_HELP || reading == READ_VERSION) {
        if (first_of_all())
            fputs(reading == READ_HELP ? usage : "mpiblast " VERSION "\n", stdout);
        options_free(&options);
        return 0;
    }
    MPI_Init_thread(&count, &words, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    stop_on_signals();
    /* One search is many runs of the program here: none of them reports itself to NCBI. */
    setenv("BLAST_USAGE_REPORT", "false", 0);
    bool done = false;
    if (reading == READ_RUN)
        done = run(&options, rank, ranks);
    else if (rank == 0)
        fprintf(stderr, "mpiblast: %s\n", why.bytes);
    text_free(&why);
    options_free(&options);
    scratch_remove();
    MPI_Finalize();
    return done ? 0 : 1;
}
