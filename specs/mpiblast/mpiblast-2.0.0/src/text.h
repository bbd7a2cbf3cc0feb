/* Growing byte strings, and memory that is either there or ends the program. */
#ifndef MPIBLAST_TEXT_H
#define MPIBLAST_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Bytes that always end in an uncounted NUL once something was added. */
struct text {
    char *bytes;
    size_t length;
    size_t room;
};

void *must_alloc(size_t count, size_t size);
void *must_grow(void *old, size_t count, size_t size);
char *must_copy(const char *string);

void text_add(struct text *text, const void *bytes, size_t length);
void text_say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *text);
void text_free(struct text *text);

bool starts_with(const char *bytes, size_t length, const char *prefix);

/* The end of the line that begins at `at`: one past its newline, or the end of the bytes. */
const char *line_end(const char *at, const char *end);

#endif
