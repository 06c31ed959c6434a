"""The application that workers run: `trunkline worker tasks:app`. Put your own handlers in its place, or beside the built-in job types."""

from trunkline import Trunkline
from trunkline.jobtypes import declare

app = Trunkline()
declare(app)  # exports, imports, schemas, dumps, reports; see docs/jobtypes.md
