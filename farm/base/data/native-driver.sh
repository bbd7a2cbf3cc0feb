#!/usr/bin/bash -p
# Stands for the compiler driver @NAME@ in an emulated root. Debian's cross driver gives what the
# root's own one would, but knows no offloading and answers questions about itself differently:
# such calls, few and short, go to the root's own. What the driver starts is native either way.
links=yes special=@SPECIAL_LINKS@ asks=
for word; do
  case $word in
    -c | -S | -E | -M | -MM | -fsyntax-only) links= ;;
    -fopenmp* | -fopenacc* | -foffload* | -flto* | -ftree-parallelize-loops*) special=yes ;;
    -v | -Q | '-###' | -print-* | --print-* | -dump* | --help* | --target-help | @*) asks=yes ;;
  esac
done
if [[ $asks || ( $links && $special ) ]]; then
  exec -a "$0" /usr/lib/farm-native/emulated/@NAME@ "$@"
fi
exec -a "$0" /usr/lib/farm-native/native/@NAME@ "$@"
