#include "stop.h"

#include "child.h"
#include "scratch.h"

#include <mpi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void stop_all(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("mpiblast: ", stderr);
    vfprintf(stderr, format, arguments);
    fflush(stderr);
    va_end(arguments);
    child_stop();
    scratch_remove();
    MPI_Abort(MPI_COMM_WORLD, status);
    _Exit(status);
}

static void on_signal(int number)
{
    child_stop();
    scratch_remove();
    signal(number, SIG_DFL);
    raise(number);
}

void stop_on_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_signal};
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
}
