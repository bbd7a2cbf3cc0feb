#!/bin/sh
# mpiblast against the serial programs. Usage: MPIBLAST=./mpiblast sh tests/run.sh
# MPIEXEC is how ranks are started, without -n.

here=$(cd "$(dirname "$0")" && pwd) || exit 1
mpiblast=$(cd "$(dirname "${MPIBLAST:-./mpiblast}")" && pwd)/$(basename "${MPIBLAST:-mpiblast}")
work=$(mktemp -d "${TMPDIR:-/tmp}/mpiblast-tests-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work" || exit 1

# More ranks than cores, and as root where builds are done by root.
if [ -z "$MPIEXEC" ]; then
    MPIEXEC=mpiexec
    case $(mpiexec --version 2>&1) in
        *"Open MPI"*|*OpenRTE*)
            MPIEXEC="mpiexec --oversubscribe"
            [ "$(id -u)" != 0 ] || MPIEXEC="$MPIEXEC --allow-run-as-root" ;;
    esac
fi

passed=0
failed=0

result() # result STATUS NAME
{
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
        echo "ok      $2"
    else
        failed=$((failed + 1))
        echo "FAILED  $2"
        head -n 20 differences stderr 2>/dev/null
    fi
}

ranks() # ranks N WORD...: mpiblast on N ranks
{
    number=$1
    shift
    # shellcheck disable=SC2086
    $MPIEXEC -n "$number" "$mpiblast" "$@" 2> stderr < "${input:-/dev/null}"
}

same() # same NAME: parallel.out is what serial.out is
{
    diff serial.out parallel.out > differences
    result $? "$1"
}

ends() # ends NAME STATUS MESSAGE WORD...: how mpiblast ends with these words
{
    name=$1 wanted=$2 message=$3
    shift 3
    ranks 1 "$@" > parallel.out
    status=$?
    echo "exit status $status, $wanted expected" > differences
    [ "$status" = "$wanted" ] && grep -q -e "$message" stderr
    result $? "$name"
}

awk -v to=. -f "$here/generate.awk" || exit 1
makeblastdb -in proteins.fa -dbtype prot -out proteins -title "Some proteins" > makeblastdb.log &&
    makeblastdb -in genes.fa -dbtype nucl -out genes -parse_seqids >> makeblastdb.log || {
    cat makeblastdb.log
    exit 1
}

# Many identical sequences: ties in every list.
blastp -query protein-queries.fa -db proteins -outfmt 6 -out serial.out
ranks 2 --pieces=3 blastp -query protein-queries.fa -db proteins -outfmt 6 -out parallel.out
same "blastp, table, queries over 2 ranks"
ranks 2 --segment=database --segments=3 blastp -query protein-queries.fa -db proteins -outfmt 6 \
    > parallel.out
same "blastp, table, database in 3 segments over 2 ranks"

blastp -query protein-queries.fa -db proteins -num_alignments 4 > serial.out
input=protein-queries.fa
ranks 1 --pieces=2 blastp -db proteins -num_alignments 4 > parallel.out
input=
same "blastp, pairwise, from standard input, 1 rank"

# More equal hits than the first list of serial BLAST+ holds.
blastn -query gene-queries.fa -db genes -max_target_seqs 5 -outfmt "7 std slen" > serial.out
ranks 2 --segment=database blastn -query gene-queries.fa -db genes -max_target_seqs 5 \
    -outfmt "7 std slen" > parallel.out
same "blastn, commented table, database with names over 2 ranks"

{ head -n 2 protein-queries.fa; echo ">empty"; tail -n 4 protein-queries.fa; } > with-empty.fa
blastp -query with-empty.fa -db proteins -outfmt 5 -max_target_seqs 9 > serial.out 2> /dev/null
ranks 2 --pieces=3 blastp -query with-empty.fa -db proteins -outfmt 5 -max_target_seqs 9 > parallel.out
same "blastp, XML, an empty query among others, queries over 2 ranks"

: > empty.fa
: > serial.out
ranks 1 blastp -query empty.fa -db proteins -outfmt 7 > parallel.out
same "an empty query file gives an empty table"

blastp -query protein-queries.fa -db none > /dev/null 2>&1
ends "a missing database ends all ranks as the program ends" $? "blastp, .*: failed (status" \
    blastp -query protein-queries.fa -db none
ends "a missing query file" 1 "-query none.fa: No such file" blastp -query none.fa -db proteins
ends "an option that would change the result" 1 "-culling_limit: refused with --segment" \
    --segment=database blastp -query protein-queries.fa -db proteins -culling_limit 1
ends "a program that is not BLAST" 1 "blastq: not a program" blastq -query protein-queries.fa

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
