"""`python -m tbps` is the `tbps` command."""

import sys

from tbps.cli.main import main

sys.exit(main())
