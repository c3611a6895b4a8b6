"""``python -m ffprof.records.schema`` prints the JSON Schema that lies in docs/."""

import sys

from ffprof.records.store import json_schema_text

if __name__ == "__main__":
    sys.stdout.write(json_schema_text())
