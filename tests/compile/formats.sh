#!/usr/bin/env bash
# Each format in ensign.h has only the conversions that its own writer, ensi_text_format_v, knows.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

# unknown FILE: the string literals of the implementation half that hold another conversion
unknown() {
    python3 - "$1" <<'PY'
import re
import sys
half = open(sys.argv[1], encoding="utf-8").read().split("#ifdef ENSIGN_IMPLEMENTATION", 1)[1]
half = re.sub(r"/\*.*?\*/", " ", half, flags=re.S)
bad = False
for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', half):
    rest = re.sub(r"%%|%(\.(\d+|\*))?s|%c|%(0\d+)?l?[duxX]", "", literal)
    if re.search(r"%[-+ #0-9.*]*[a-zA-Z]", rest):
        print("a conversion that ensi_text_format_v does not know: \"%s\"" % literal)
        bad = True
sys.exit(bad)
PY
}

check 'every conversion in ensign.h is known' unknown ensign.h
sed 's/"client: closing"/"client: closing %5.2f"/' ensign.h >"$dir/bad.h"
finds 'another one is found' 'client: closing %5.2f' unknown "$dir/bad.h"

results
