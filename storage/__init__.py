"""SQLite storage: schema, migrations, one module per table family, the writer. Knows no actors."""

import sys

# `import sqlite_utils` imports numpy and pandas wherever they are installed, to know their column
# types: 60 MB that the agent never uses. None in `sys.modules` makes such an import fail; it stands
# there only while sqlite_utils loads, so that others can import both later. This package's first
# import does it, before any of its modules can; no thread may import numpy at the same moment.
_hidden = [name for name in ("numpy", "pandas") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]
try:
    import sqlite_utils as sqlite_utils
finally:
    for _name in _hidden:
        del sys.modules[_name]
