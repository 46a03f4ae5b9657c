"""``python -m device_agents``, and what the zip's own ``__main__.py`` calls."""

import sys

from device_agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
