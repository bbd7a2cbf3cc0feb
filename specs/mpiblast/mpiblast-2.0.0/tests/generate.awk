# Writes small sequence files into the directory `to`: families of related sequences, some of them
# identical (ties), in an order that mixes them. The same files in every run.

function below(n) # a number from 0 to n-1 (minimal standard generator: exact in doubles)
{
    state = (state * 16807) % 2147483647
    return int(state / 2147483647 * n)
}

function random_sequence(letters, n,   s)
{
    for (s = ""; n > 0; n--)
        s = s substr(letters, below(length(letters)) + 1, 1)
    return s
}

function changed(sequence, percent, letters,   s, i)
{
    s = ""
    for (i = 1; i <= length(sequence); i++)
        s = s (below(100) < percent ? random_sequence(letters, 1) : substr(sequence, i, 1))
    return s
}

function write_set(file, queries, prefix, letters, size, families, number, percent,   family, i, k)
{
    for (i = 0; i < families; i++)
        family[i] = random_sequence(letters, size + below(size))
    for (i = 0; i < number; i++) {
        k = below(families + 1)
        print ">" prefix i " member " i " of family " k > file
        if (k == families)
            print random_sequence(letters, size) > file
        else if (i % 3 == 0)
            print family[k] > file # the same once more: a tie
        else
            print changed(family[k], below(percent), letters) > file
    }
    for (i = 0; i < families; i++)
        print ">" prefix "query" i " like family " i "\n" changed(family[i], 10, letters) > queries
    print ">" prefix "alone like nothing\n" random_sequence(letters, 40) > queries
    close(file)
    close(queries)
}

BEGIN {
    state = 20261120
    write_set(to "/proteins.fa", to "/protein-queries.fa", "p", "ARNDCQEGHILKMFPSTWYV", 90, 6, 150, 80)
    write_set(to "/genes.fa", to "/gene-queries.fa", "n", "ACGT", 240, 4, 160, 15)
}
