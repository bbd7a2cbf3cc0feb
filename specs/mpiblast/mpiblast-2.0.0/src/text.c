#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *present(void *memory)
{
    if (memory == NULL) {
        fputs("mpiblast: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *must_alloc(size_t count, size_t size)
{
    return present(calloc(count ? count : 1, size ? size : 1));
}

void *must_grow(void *old, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return present(NULL);
    return present(realloc(old, count && size ? count * size : 1));
}

char *must_copy(const char *string)
{
    return present(strdup(string));
}

void text_add(struct text *text, const void *bytes, size_t length)
{
    if (length > SIZE_MAX / 2 - text->length)
        present(NULL);
    size_t needed = text->length + length + 1;
    if (needed > text->room) {
        size_t room = text->room ? text->room : 256;
        while (room < needed)
            room *= 2;
        text->bytes = must_grow(text->bytes, room, 1);
        text->room = room;
    }
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_say(struct text *text, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (length < 0)
        present(NULL);
    text_add(text, line, (size_t)length);
    free(line);
}

void text_clear(struct text *text)
{
    text->length = 0;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

bool starts_with(const char *bytes, size_t length, const char *prefix)
{
    size_t wanted = strlen(prefix);
    return length >= wanted && memcmp(bytes, prefix, wanted) == 0;
}

const char *line_end(const char *at, const char *end)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return newline ? newline + 1 : end;
}
