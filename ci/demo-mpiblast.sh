# Runs inside a site's root: does mpiblast find what serial BLAST+ finds?
set -eu
cd /tmp
awk 'BEGIN { srand(7); for (s = 1; s <= 24; s++) { printf ">seq%d\n", s
  for (i = 0; i < 300; i++) printf "%s", substr("ACGT", 1 + int(rand() * 4), 1); print "" } }' >db.fa
awk '/^>/ { n++ } n % 4 == 1' db.fa >query.fa
makeblastdb -in db.fa -dbtype nucl -out db >/dev/null
blastn -query query.fa -db db -outfmt 6 >serial.txt
test -s serial.txt
mpiexec --oversubscribe -n 2 mpiblast blastn -query query.fa -db db -outfmt 6 >parallel.txt
test "$(sha256sum <serial.txt)" = "$(sha256sum <parallel.txt)"
echo "mpiexec -n 2 mpiblast: $(wc -l <parallel.txt) hits, the same as serial blastn"
