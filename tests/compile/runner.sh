#!/usr/bin/env bash
# tests/run counts what programs say, and what they fail to say.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

# says 'what' 'closing line' 'words' LINE...: tests/run on a program of these lines gives both, and the
# right status
says() {
    local what=$1
    shift
    check "$what" said "$@"
}
said() {
    local closing=$1 words=$2 status=0 want=0
    shift 2
    { echo '#!/bin/sh'; printf '%s\n' "$@"; } >"$dir/program"
    chmod +x "$dir/program"
    tests/run -t 2 "$dir/program" >"$dir/out" 2>&1 || status=1
    cat "$dir/out"
    case $closing in *' 0 failed'*) ;; *) want=1 ;; esac
    [ "$(tail -n 1 "$dir/out")" = "$closing" ] && grep -qF -- "$words" "$dir/out" && [ $status -eq $want ]
}

says 'what passed' '2 passed, 0 failed' '2 passed' 'echo 1..2' 'echo ok 1 - a' 'echo ok 2 - b'
says 'a failure and its words' '1 passed, 1 failed' '# 1 is not 2' \
    'echo ok 1 - a' 'echo not ok 2 - b' 'echo "# 1 is not 2"' 'exit 1'
says 'a case left out' '1 passed, 0 failed, 1 skipped' '1 skipped' \
    'echo ok 1 - a' 'echo "ok 2 - b # SKIP no network"'
says 'a case left out, as cmocka says it' '1 passed, 0 failed, 1 skipped' '1 skipped' \
    'echo ok 1 - a' 'echo "not ok 2 # SKIP b"'
says 'silence' '0 passed, 1 failed' 'printed no result' 'exit 0'
says 'words and a bad end' '0 passed, 1 failed' 'exit status 7' 'echo words; exit 7'
says 'a bad end after good results' '1 passed, 1 failed' 'exit status 99' 'echo ok 1 - a' 'exit 99'
says 'fewer results than planned' '1 passed, 1 failed' 'planned 2 results, gave 1' 'echo 1..2' 'echo ok 1 - a'
says 'a program that is killed' '1 passed, 1 failed' 'killed by signal 11' 'echo ok 1 - a' 'kill -11 $$'
says 'a program without end' '1 passed, 1 failed' 'no end within 2 s' 'echo ok 1 - a' 'exec sleep 60'
results
