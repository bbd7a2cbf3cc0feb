# Runs inside the site's freshly installed root: are these real programs of this architecture?
set -eu
echo "machine: $(uname -m)"
rpm -q cluster-master mpiblast
munged --version
nodeset -f node[1-3,7]
