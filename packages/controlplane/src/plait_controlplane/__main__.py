"""`python -m plait_controlplane`."""

import sys

from plait_controlplane.cli import main

sys.exit(main())
