#include "child.h"

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile pid_t running; /* a rank runs one command at a time */

void words_add(struct words *words, const char *word)
{
    words->word = must_grow(words->word, words->count + 2, sizeof *words->word);
    words->word[words->count++] = must_copy(word);
    words->word[words->count] = NULL;
}

void words_free(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->word[i]);
    free(words->word);
    *words = (struct words){0};
}

bool program_exists(const char *name)
{
    const char *at = getenv("PATH");
    if (at == NULL)
        at = "/usr/local/bin:/usr/bin:/bin";
    bool found = false;
    while (!found) {
        size_t length = strcspn(at, ":");
        struct text path = {0};
        text_say(&path, "%.*s/%s", (int)length, length ? at : ".", name);
        found = access(path.bytes, X_OK) == 0;
        text_free(&path);
        if (at[length] == '\0')
            break;
        at += length + 1;
    }
    return found;
}

static int start(const struct words *command, int in, int out, int err, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failed = posix_spawnp(child, command->word[0], &files, &attributes, command->word, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

int child_run(const struct words *command, int in, int out, int err, struct text *why)
{
    pid_t child;
    int status;
    int failed = start(command, in, out, err, &child);
    if (failed) {
        text_say(why, "%s: cannot be started: %s\n", command->word[0], strerror(failed));
        return -1;
    }
    running = child;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            text_say(why, "%s: %s\n", command->word[0], strerror(errno));
            running = 0;
            return -1;
        }
    }
    running = 0;
    if (WIFSIGNALED(status)) {
        text_say(why, "%s: ended by signal %d (%s)\n", command->word[0], WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status);
}

void child_stop(void)
{
    pid_t child = running;
    if (child > 0)
        kill(child, SIGTERM);
}

int read_back(int file, struct text *text)
{
    char block[65536];
    off_t at = 0;
    for (;;) {
        ssize_t length = pread(file, block, sizeof block, at);
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return (int)length;
        text_add(text, block, (size_t)length);
        at += length;
    }
}

int child_ask(const struct words *command, struct text *out, struct text *err)
{
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int written = scratch_nameless(), said = scratch_nameless();
    int status = -1;
    if (in < 0 || written < 0 || said < 0)
        text_say(err, "no room for temporary files: %s\n", strerror(errno));
    else
        status = child_run(command, in, written, said, err);
    if (written >= 0 && read_back(written, out) != 0)
        status = -1;
    if (said >= 0 && read_back(said, err) != 0)
        status = -1;
    if (in >= 0)
        close(in);
    if (written >= 0)
        close(written);
    if (said >= 0)
        close(said);
    return status;
}
