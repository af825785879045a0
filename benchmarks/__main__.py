"""Every benchmark after another, each with its default size, or those that are named: `python -m benchmarks sync`.

A benchmark is a module of this folder with `main(arguments)`; what it measured goes into results/NAME.json.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> None:
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__"]
    for unknown in set(names) - set(found):
        sys.exit(f"There is no benchmark {unknown!r}; there are {', '.join(found)}.")
    for name in names or found:
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "main"):
            print(f"\n== {name}", flush=True)
            module.main([])


if __name__ == "__main__":
    main(sys.argv[1:])
