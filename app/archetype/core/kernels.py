"""Arrow's compute functions, most of which exist only at run time and so have no types."""

from __future__ import annotations

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
