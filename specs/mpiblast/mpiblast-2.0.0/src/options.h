/* The command line: mpiblast's own options, the program, and the program's options. */
#ifndef MPIBLAST_OPTIONS_H
#define MPIBLAST_OPTIONS_H

#include "text.h"

#include <stdbool.h>

enum segmentation { SEGMENT_QUERY, SEGMENT_DATABASE };

/* One option of the BLAST program; `value` is NULL for a flag. */
struct option {
    char *name;
    char *value;
};

struct options {
    enum segmentation segmentation;
    int segments;           /* parts of the database; 0: one for each rank */
    int pieces;             /* parts of the query set to aim at; 0: from the number of ranks */
    bool verbose;
    const char *program;    /* blastp, blastn, blastx, tblastn or tblastx */
    bool protein_database;
    char *query;            /* a path, or "-" */
    char *out;              /* a path, or "-" */
    const char *database;   /* the value of -db, or NULL */
    int format;             /* the number of -outfmt */
    bool parse_deflines;
    bool batches_matter;    /* a result depends on the queries searched together with it */
    const char *one_piece;  /* why the query set must not be split, or NULL */
    struct option *given;   /* everything for the program but -query and -out */
    int given_count;
};

enum reading { READ_RUN, READ_HELP, READ_VERSION, READ_REFUSED };

/* Reads the command line. READ_REFUSED: `why` says what is wrong with it, by name. */
enum reading options_read(struct options *options, int count, char **words, struct text *why);
void options_free(struct options *options);

/* The value given for an option, or NULL. */
const char *option_value(const struct options *options, const char *name);
bool option_given(const struct options *options, const char *name);

/* Residues that serial BLAST+ reads before it searches them together; for blastn, whose batches
   adapt to what they find, a fixed size below any of them. */
long long batch_residues(const struct options *options);

#endif
