"""`python -m tbps` is the `tbps` command."""

import sys

from tbps.cli import main

sys.exit(main())
