#ifndef TALLY_H
#define TALLY_H
int tally(int so_far);
#endif
