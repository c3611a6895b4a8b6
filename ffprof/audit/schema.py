"""``python -m ffprof.audit.schema`` prints the JSON Schema that lies in docs/."""

import sys

from ffprof.audit.store import json_schema_text

if __name__ == "__main__":
    sys.stdout.write(json_schema_text())
