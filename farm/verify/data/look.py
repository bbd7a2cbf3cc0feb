"""What a Python program sees of the root that it runs in."""

import locale
import os
import pathlib
import platform
import sys
import time

what, *words = sys.argv[1:]
if what == "clock":
    copied = pathlib.Path("/tmp/probe-copy").stat().st_mtime
    print([int(moment - int(words[0])) // 8640000 for moment in (time.time(), copied)])
elif what == "hostname":
    print(platform.node())
elif what == "cores":
    print(os.cpu_count(), len(os.sched_getaffinity(0)))
elif what == "ids":
    print(os.getuid(), os.getgid())
elif what == "kernel":
    print(platform.release(), platform.version())
elif what == "order":
    found = os.listdir(words[0])  # noqa: PTH208 - what most programs call
    print(found, [entry.name for entry in os.scandir(words[0])])
elif what == "locale":
    locale.setlocale(locale.LC_ALL, "")
    print(locale.str(0.5), time.strftime("%A", time.gmtime(0)), time.tzname)
