"""Compile modules: `number path` on standard input, number.py → number.pyc in a directory."""

import pathlib
import py_compile
import sys

sources = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    number, path = line.split(" ", 1)
    source = sources / f"{number}.py"
    try:
        py_compile.compile(
            str(source),
            cfile=str(source.with_suffix(".pyc")),
            dfile=path.rstrip("\n"),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except (py_compile.PyCompileError, SyntaxError, ValueError, UnicodeDecodeError):
        continue
