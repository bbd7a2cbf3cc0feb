/* The end of all ranks at once. */
#ifndef MPIBLAST_STOP_H
#define MPIBLAST_STOP_H

/* Says why on standard error, ends this rank's program, removes its files, and ends every rank
   with this exit status. */
_Noreturn void stop_all(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes a signal that ends the rank end its program and remove its files, too. */
void stop_on_signals(void);

#endif
