#include <stdio.h>
#include <tally.h>

int main(void)
{
    return printf("%d\n", tally(41)) < 0;
}
