"""`python -m api.self_test`: what an installed version says of itself before it is switched to.

Prints a JSON object. The version that runs asks it, and that may be any other: only add to it.
"""

import json
import sys
from importlib import import_module


def main() -> int:
    from actors.endpoints import protocols
    from actors.publish import destinations
    from actors.subsystems.registry import subsystems
    from api import gateway
    from api.routing import collect
    from api.version import version
    from storage.migrations import names

    found = [*subsystems(), gateway.SUBSYSTEM, *collect()]
    found += [protocols.find(name) for name in protocols.names()]
    found += [destinations.find(name) for name in destinations.TYPES]
    import_module("api.cli.run")  # the one thing of the command line that an agent needs
    print(json.dumps({"version": version(), "migrations": names(), "loaded": len(found)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
