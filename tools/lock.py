"""Take the packages that no platform needs (marker `sys_platform == 'never'`) out of a compiled lock on stdin."""

from __future__ import annotations

import sys

keep = True
for line in sys.stdin:
    if not line.startswith(" "):
        keep = "sys_platform == 'never'" not in line
    if keep:
        sys.stdout.write(line)
