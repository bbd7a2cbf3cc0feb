#include "database.h"

#include "child.h"
#include "scratch.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *trimmed(const char *at, const char *end)
{
    while (at < end && isspace((unsigned char)*at))
        at++;
    while (end > at && isspace((unsigned char)end[-1]))
        end--;
    struct text text = {0};
    text_add(&text, at, (size_t)(end - at));
    return text.bytes;
}

/* A number with commas in it; `*at` is moved behind it. */
static long long read_number(const char **at)
{
    long long number = 0;
    const char *digit = *at;
    while (isspace((unsigned char)*digit))
        digit++;
    for (; isdigit((unsigned char)*digit) || *digit == ','; digit++)
        if (*digit != ',' && number < INT64_MAX / 10 - 10)
            number = number * 10 + (*digit - '0');
    *at = digit;
    return number;
}

static bool ask(const char *name, bool protein, struct text *said, struct text *why)
{
    struct words command = {0};
    words_add(&command, "blastdbcmd");
    words_add(&command, "-db");
    words_add(&command, name);
    words_add(&command, "-dbtype");
    words_add(&command, protein ? "prot" : "nucl");
    words_add(&command, "-info");
    int status = child_ask(&command, said, why);
    words_free(&command);
    return status == 0;
}

/* The line "\t12,420 sequences; 2,466,278 total residues" and the title before it. */
static bool read_totals(const char *info, struct database *totals)
{
    const char *title = strstr(info, "Database:");
    const char *mark = title ? strstr(title, " sequences; ") : NULL;
    if (mark == NULL)
        return false;
    const char *line = mark;
    while (line > title && line[-1] != '\n')
        line--;
    totals->title = trimmed(title + strlen("Database:"), line);
    for (char *at = totals->title; *at != '\0'; at++)
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    const char *at = line;
    totals->sequences = read_number(&at);
    at = mark + strlen(" sequences; ");
    totals->letters = read_number(&at);
    return totals->sequences > 0;
}

static void add_volume(struct database *database, char *path, long long sequences)
{
    database->volumes =
        must_grow(database->volumes, database->volume_count + 1, sizeof *database->volumes);
    database->volumes[database->volume_count++] = (struct volume){path, sequences};
}

static bool read_volumes(const char *info, struct database *database)
{
    const char *at = strstr(info, "\nVolumes:");
    if (at == NULL)
        return false;
    const char *end = info + strlen(info);
    at = line_end(at + 1, end);
    while (at < end) {
        const char *next = line_end(at, end);
        char *path = trimmed(at, next);
        if (path[0] == '\0')
            free(path);
        else
            add_volume(database, path, 0);
        at = next;
    }
    return database->volume_count > 0;
}

static bool count_volumes(struct database *database, struct text *why)
{
    long long sequences = 0;
    for (size_t i = 0; i < database->volume_count; i++) {
        struct volume *volume = &database->volumes[i];
        struct database totals = {0};
        struct text said = {0}, name = {0};
        text_say(&name, "\"%s\"", volume->path);
        bool known = ask(name.bytes, database->protein, &said, why) &&
                     read_totals(said.bytes, &totals);
        volume->sequences = totals.sequences;
        sequences += totals.sequences;
        free(totals.title);
        text_free(&said);
        text_free(&name);
        if (!known) {
            text_say(why, "blastdbcmd does not tell the size of the volume %s\n", volume->path);
            return false;
        }
    }
    if (sequences != database->sequences) {
        text_say(why,
                 "the database is a selection of others (%lld of %lld sequences) and cannot be "
                 "segmented: use --segment=query\n",
                 database->sequences, sequences);
        return false;
    }
    return true;
}

bool database_describe(struct database *database, const struct options *options, struct text *why)
{
    struct text said = {0};
    *database = (struct database){.protein = options->protein_database};
    bool known = ask(options->database, database->protein, &said, why);
    if (known && (!read_totals(said.bytes, database) || !read_volumes(said.bytes, database))) {
        text_say(why, "blastdbcmd says nothing that can be understood of the database %s\n",
                 options->database);
        known = false;
    }
    text_free(&said);
    return known && count_volumes(database, why);
}

static void pack_number(struct text *packed, long long number)
{
    text_add(packed, &number, sizeof number);
}

static void pack_string(struct text *packed, const char *string)
{
    size_t length = strlen(string) + 1;
    pack_number(packed, (long long)length);
    text_add(packed, string, length);
}

static long long unpack_number(const char **at)
{
    long long number;
    memcpy(&number, *at, sizeof number);
    *at += sizeof number;
    return number;
}

static char *unpack_string(const char **at)
{
    size_t length = (size_t)unpack_number(at);
    char *string = must_copy(*at);
    *at += length;
    return string;
}

void database_pack(const struct database *database, struct text *packed)
{
    pack_number(packed, database->protein);
    pack_string(packed, database->title);
    pack_number(packed, database->sequences);
    pack_number(packed, database->letters);
    for (size_t i = 0; i < database->volume_count; i++) {
        pack_string(packed, database->volumes[i].path);
        pack_number(packed, database->volumes[i].sequences);
    }
}

void database_unpack(struct database *database, const char *bytes, size_t length)
{
    const char *at = bytes;
    *database = (struct database){0};
    database->protein = unpack_number(&at) != 0;
    database->title = unpack_string(&at);
    database->sequences = unpack_number(&at);
    database->letters = unpack_number(&at);
    while (at < bytes + length) {
        char *path = unpack_string(&at);
        add_volume(database, path, unpack_number(&at));
    }
}

void database_free(struct database *database)
{
    for (size_t i = 0; i < database->volume_count; i++)
        free(database->volumes[i].path);
    free(database->volumes);
    free(database->title);
    *database = (struct database){0};
}

/* Writes <name>.pal or .nal; the name without its suffix is what -db takes. */
static char *write_alias(const struct database *database, const char *name,
                               const struct text *lines, struct text *why)
{
    struct text file = {0};
    text_say(&file, "%s.%s", name, database->protein ? "pal" : "nal");
    const char *path = scratch_path(file.bytes);
    text_free(&file);
    if (path == NULL || write_file(path, lines->bytes, lines->length) != 0) {
        text_say(why, "cannot write the alias database %s: %s\n", name, strerror(errno));
        return NULL;
    }
    struct text alias = {0};
    text_add(&alias, path, strlen(path) - strlen(".pal"));
    return alias.bytes;
}

/* NSEQ and LENGTH are what E-values and cut-offs are computed from: those of the whole. */
static void say_totals(struct text *lines, const struct database *database)
{
    text_say(lines, "TITLE %s\nNSEQ %lld\nLENGTH %lld\nDBLIST", database->title,
             database->sequences, database->letters);
}

char *database_segment(const struct database *database, long long number, long long first,
                             long long last, struct text *why)
{
    struct text name = {0}, lines = {0};
    text_say(&name, "segment-%lld", number);
    say_totals(&lines, database);
    for (size_t i = 0; i < database->volume_count; i++)
        text_say(&lines, " \"%s\"", database->volumes[i].path);
    text_say(&lines, "\nFIRST_OID %lld\nLAST_OID %lld\n", first + 1, last);
    char *alias = write_alias(database, name.bytes, &lines, why);
    text_free(&name);
    text_free(&lines);
    return alias;
}

/* The mask of a volume: the number of its last sequence, most significant byte first, then a bit
   for each sequence, the highest bit of a byte first, to a multiple of four bytes. */
static bool write_mask(const char *name, long long sequences, long long offset,
                       const long long *oids, size_t count, struct text *why)
{
    size_t bits = 4 * (((size_t)sequences + 31) / 32), size = 4 + bits;
    unsigned char *mask = must_alloc(size, 1);
    uint32_t last = (uint32_t)(sequences - 1);
    for (int i = 0; i < 4; i++)
        mask[i] = (unsigned char)(last >> (24 - 8 * i));
    for (size_t i = 0; i < count; i++) {
        size_t bit = (size_t)(oids[i] - offset);
        mask[4 + bit / 8] |= (unsigned char)(0x80 >> bit % 8);
    }
    const char *path = scratch_path(name);
    bool written = path != NULL && write_file(path, mask, size) == 0;
    if (!written)
        text_say(why, "cannot write the mask %s: %s\n", name, strerror(errno));
    free(mask);
    return written;
}

char *database_selection(const struct database *database, const long long *oids,
                               size_t count, struct text *why)
{
    struct text top = {0};
    long long offset = 0;
    size_t at = 0;
    bool written = true;
    say_totals(&top, database);
    for (size_t i = 0; written && i < database->volume_count; i++) {
        const struct volume *volume = &database->volumes[i];
        struct text name = {0}, mask = {0}, lines = {0};
        size_t next = at;
        while (next < count && oids[next] < offset + volume->sequences)
            next++;
        text_say(&name, "volume-%zu", i);
        text_say(&mask, "volume-%zu.mask", i);
        text_say(&lines, "TITLE %s\nDBLIST \"%s\"\nOIDLIST %s\n", database->title, volume->path,
                 mask.bytes);
        written = write_mask(mask.bytes, volume->sequences, offset, oids + at, next - at, why);
        char *alias = written ? write_alias(database, name.bytes, &lines, why) : NULL;
        written = alias != NULL;
        if (written)
            text_say(&top, " %s", name.bytes);
        free(alias);
        text_free(&name);
        text_free(&mask);
        text_free(&lines);
        offset += volume->sequences;
        at = next;
    }
    text_say(&top, "\n");
    char *alias = written ? write_alias(database, "selection", &top, why) : NULL;
    text_free(&top);
    return alias;
}
