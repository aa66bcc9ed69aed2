#!/usr/bin/env bash
# tools/bench_server measures every part once, with sizes that take no time: its report has a figure for each.
# And so with a real server beside it, for which ensignd stands in.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
small=(--before none --rounds 1 --events 500 --connections 20 --topics 20 --large 1000)

cat >"$dir/real" <<SH
#!/bin/sh
"$BUILD/ensignd" --strict --memory --port 0 --auth-port 0 --env-file "$dir/env" --pid-file "$dir/pid" \\
    --detach >"$dir/real.pid" || exit 1
sed "s/^export //; s/'//g" "$dir/env"
echo "PID=\$(cat "$dir/pid")"
echo ready
cat >/dev/null
kill "\$(cat "$dir/pid")"
SH
chmod +x "$dir/real"

# In the report, a row that begins so has no cell without a figure.
row() { grep -E "^\\| $1 \\|" "$dir/report" | grep -vq '| – |'; }
said() { grep -qF -- "$1" "$dir/report"; }

check 'it ends well' sh -c 'tools/bench_server "$@" >"$0"' "$dir/report" "${small[@]}"
check 'it says that the real server is left out' said 'BENCH_REAL names no program'
for part in publish deliver 'group delivery' catch-up WHERE 'deliveries, CPU of the server' \
    'resident set a connection' 'topics made, CPU of the server' 'published and delivered' \
    'resident set after a tenth, half, all' 'the next start takes'; do
    check "its report has: $part" row "$part"
done
check 'it ends well beside a real server' \
    sh -c 'BENCH_REAL=$1; export BENCH_REAL; shift; tools/bench_server "$@" >"$0"' "$dir/report" "$dir/real" \
    "${small[@]}" publish deliver group
check 'the report has both' row publish
check 'it names the real server' said '| Ensign |'
check 'it says which part the real server cannot do' said 'group delivery: Ensign does not have that'
results
