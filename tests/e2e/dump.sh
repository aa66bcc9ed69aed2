#!/usr/bin/env bash
# dump.sh - a store that is carried to another one by --dump-all and --load: all is there as it was, its keys
# and topics serve again; and what --dump and --load say where that cannot be done
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/cli.sh
server=$PWD/$BUILD/ensignd

carries() { # STATUS OPTION...: ensignd that does not serve; what it prints is in $dir/out and err
    local wanted=$1
    shift
    timeout 300 "$server" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    local status=$?
    [ $status -eq "$wanted" ] || { echo "exit status $status"; cat "$dir/out" "$dir/err"; return 1; }
}
dumps() { carries 0 --data "$dir/$1" --dump-all && mv "$dir/out" "$dir/$2"; } # STORE FILE
loads() { carries 0 --data "$dir/$2" --load "$dir/$1"; } # FILE STORE
refuses() { # WORDS OPTION...
    local words=$1
    shift
    carries 2 "$@" && [ ! -s "$dir/out" ] && says "$words"
}

# id, offset and epoch differ, and are left out. An original is told by its place among the events.
carried() { # FILE
    python3 -c '
import json, sys
places = {}
for place, line in enumerate(open(sys.argv[1], encoding="utf-8")):
    o = json.loads(line)
    if o["kind"] == "event":
        places[o["id"]] = place
for line in open(sys.argv[1], encoding="utf-8"):
    o = json.loads(line)
    if o["kind"] == "event":
        for name in "id", "offset", "epoch":
            del o[name]
        if "duplicate_of" in o:
            o["duplicate_of"] = places[o["duplicate_of"]]
    print(json.dumps(o))' "$1"
}
is_carried() { diff <(carried "$dir/$1") <(carried "$dir/$2") | head -n 20; return "${PIPESTATUS[0]}"; } # FILE FILE
counts() { same "$1" "$(grep -c "$2" "$dir/$3")"; } # NUMBER WORDS FILE
lasting() { sed -E 's/"(id|duplicate_of)":("[^"]*"|null),//g; s/"(offset|epoch)":[0-9]+,//g' "$dir/out"; }
rows() { # TOPIC FILE: its rows, duplicates too, without what is new
    run query "SELECT * FROM $1" --json -D
    lasting >"$dir/$2"
}
are_rows() { # TOPIC FILE
    rows "$1" again
    cmp "$dir/$2" "$dir/again" || { diff "$dir/$2" "$dir/again" | head -n 4 | cut -c 1-600; return 1; }
}

# ---- a store with all kinds of topics and events

check 'a server starts' server_start "$dir/old" --port 0 --auth-port 0
run topics create plain
run topics create orders --dedup strict
run topics create parts --dedup unique-key --keys id
run topics create newest
run topics create old-news
seq 2000 >"$dir/lines"
check 'events are published' does 0 publish plain --lines "$dir/lines" --type Line@1.2.3 --meta from=seq
check 'with all their fields' does 0 publish plain 'Zürich "€" \' -m application/json -k "$(printf 'k\303\374')" \
    --meta 'c=d "e"'
printf '\000\n\377' >"$dir/bytes"
check 'bytes' does 0 publish plain --file "$dir/bytes" -m 12345
printf '{"data":"sealed","encryption":"KG4=","compression":"CAE="}\n' >"$dir/sealed"
check 'and what is encrypted' does 0 publish plain --from-json "$dir/sealed"
for _ in 1 2 3; do cat "$dir/lines"; done | head -n 5000 >"$dir/thrice"
check 'duplicates' does 0 publish orders --lines "$dir/thrice"
check 'of a key' does 0 publish parts --meta id=7 one two three
check 'and such that' does 0 publish newest --lines "$dir/thrice"
check 'come before their original' does 0 topics policy newest --dedup strict --offset latest
for _ in $(seq 600); do
    run topics show newest --json
    ! grep -q pending "$dir/out" && break
    sleep 0.05
done
check 'a topic that is archived' does 0 topics archive old-news
run topics create going
run topics rm going --yes
rows plain plain
rows orders orders
check 'a store can be dumped while a server has it' dumps old live
check 'but not be loaded' refuses 'is in use by another ensignd; stop that one' --data "$dir/old" --load "$dir/live"
key=$ENSIGN_CLIENT_ID secret=$ENSIGN_CLIENT_SECRET
server_stop
check 'it is dumped' dumps old one
check 'with its keys' counts 3 '^{"kind":"key"' one
check 'its topics' counts 5 '^{"kind":"topic"' one
check 'and its events' counts 12006 '^{"kind":"event"' one
check 'nothing has changed since' is_carried live one

# ---- in another store

check 'it is loaded' loads one new
check 'so much is said' same 'ensignd: 12006 events, 5 topics and 3 API keys were loaded' "$(cat "$dir/out")"
check 'and nothing else' same '' "$(cat "$dir/err")"
check 'it is dumped again' dumps new two
check 'all is as it was' is_carried one two
check 'a server takes it up' server_start "$dir/new" --port 0 --auth-port 0
check 'with the same key' same "$key $secret" "$ENSIGN_CLIENT_ID $ENSIGN_CLIENT_SECRET"
check 'its events are there' are_rows plain plain
check 'duplicates are whole again' are_rows orders orders
run subscribe plain --from beginning -n 2003 --json
lasting >"$dir/again"
check 'a subscriber gets them, with their time' cmp "$dir/plain" "$dir/again"
time=$(sed -n '1000s/.*"committed":"\([^"]*\)".*/\1/p' "$dir/plain")
run subscribe plain --from "$time" -n 1 --json
check 'and finds a time' same "\"committed\":\"$time\"" "$(grep -o '"committed":"[^"]*"' "$dir/out")"
run subscribe plain --group readers --from beginning -n 1 --ack
check 'a group does as well' does 0 groups reset readers --to "$time"
run subscribe plain --group readers -n 1 --json
check 'from there on' same "\"committed\":\"$time\"" "$(grep -o '"committed":"[^"]*"' "$dir/out")"
check 'policies apply' does 0 publish orders 1
rows orders again
check 'to what is new' same 5001 "$(wc -l <"$dir/again")"
check 'an archived topic stays one' fails 1 'TOPIC_ARCHIVED' publish old-news x
server_stop
server_start "$dir/new" --port 0 --auth-port 0 --strict
run query 'SELECT * FROM plain' --json
check 'strict: rows have no time' counts 2003 '"committed":null' out
server_stop
"$server" --data "$dir/new" --dump-all | "$server" --data "$dir/piped" --load - >"$dir/out" 2>"$dir/err"
check 'from a pipe, too' same '0 0' "${PIPESTATUS[*]}"
dumps new two
dumps piped three
check 'all is as it was again' is_carried two three
check 'one topic alone' carries 0 --data "$dir/new" --dump parts
check 'its line and its events' same '1 3' "$(grep -c '"kind":"topic"' "$dir/out") $(grep -c '"kind":"event"' "$dir/out")"
check 'strict: without the times' carries 0 --data "$dir/new" --dump parts --strict
check 'of the commits' same 3 "$(grep -c '"committed":null' "$dir/out")"

check 'a dump is published' server_start "$dir/copy" --port 0 --auth-port 0
grep -h '"name":"parts"\|"topic":"parts"' "$dir/one" >"$dir/parts"
check 'as any events are' does 0 publish parts -e --from-json "$dir/parts"
check 'all of them' says '3 of 3 events stored'
server_stop

# ---- on a terminal

terminal() { # OPTION...: what ensignd writes there is in $dir/terminal
    timeout 300 python3 tests/e2e/pty.py '' "$server" "$@" >"$dir/terminal" 2>&1
}
if python3 tests/e2e/pty.py >/dev/null; then
    check 'on a terminal' terminal --data "$dir/shown" --load "$dir/one"
    check 'it says how far it is' grep -q 'ensignd: [0-9]* events loaded' "$dir/terminal"
    check 'a dump on a terminal' terminal --data "$dir/new" --dump parts
    check 'has its lines alone' same 4 "$(grep -c '^{.*}.$' "$dir/terminal")"
else
    tap ok 'on a terminal # SKIP no pseudo-terminal'
fi

# ---- options

check 'dump of nothing'      refuses '--dump is about what is stored; add --data' --dump plain
check 'dump-all of nothing'  refuses '--dump-all is about what is stored; add --data' --memory --dump-all
check 'load into nothing'    refuses '--load is about what is stored; add --data' --load "$dir/one"
check 'both at once'         refuses 'give one of them' --data "$dir/x" --load "$dir/one" --dump-all
check 'a file that is none'  refuses "--load $dir/none: No such file" --data "$dir/x" --load "$dir/none"
check 'makes no store'       [ ! -e "$dir/x" ]
check 'a folder'             refuses "--load $dir: it cannot be read: Is a directory" --data "$dir/x" --load "$dir"

# ---- what cannot be done

head -n 100 "$dir/one" >"$dir/wrong"
sed -n '101s/"metadata":{[^}]*}/"metadata":[]/p' "$dir/one" >>"$dir/wrong"
sed -n '102,$p' "$dir/one" >>"$dir/wrong"
check 'a wrong line' refuses "--load $dir/wrong: line 101: metadata: give an object of strings; 92 events were loaded" \
    --data "$dir/partly" --load "$dir/wrong"
dumps partly four
head -n 100 "$dir/one" >"$dir/first"
check 'what was before it stays' is_carried first four

full() { # the store may have so many KiB a file
    (trap '' XFSZ && ulimit -f 1024 && exec "$server" --data "$dir/full" --store-timeout 1 --load "$dir/one") \
        >"$dir/out" 2>"$dir/err"
    local status=$?
    [ $status -eq 2 ] || { echo "exit status $status"; cat "$dir/err"; return 1; }
}
said() { grep -oE '[0-9]+ events (were|are) loaded' "$dir/$1" | tail -n 1 | cut -d' ' -f1; } # FILE
holds_what_was_said() { # STORE NUMBER: that many events or more, the first ones
    local count
    dumps "$1" part || return 1
    count=$(wc -l <"$dir/part")
    echo "$2 events were said, the dump has $count lines"
    [ "$2" -gt 0 ] && [ $((count - 8)) -ge "$2" ] && [ "$count" -lt "$(wc -l <"$dir/one")" ] || return 1
    head -n "$count" "$dir/one" >"$dir/first"
    is_carried first part
}
check 'a full disk' full
check 'is told' says 'see that the disk has room'
check 'what was loaded stays' holds_what_was_said full "$(said err)"
if [ -e /dev/full ]; then
    "$server" --data "$dir/new" --dump-all >/dev/full 2>"$dir/err"
    check 'a full disk for a dump' same 2 $?
    check 'is told, too' says '--dump-all: standard output cannot be written'
else
    tap ok 'a full disk for a dump # SKIP no /dev/full'
fi

# ---- killed in the middle: it has read all, and waits for more

mkfifo "$dir/pipe"
"$server" --data "$dir/killed" --verbose --load - <"$dir/pipe" >"$dir/out" 2>"$dir/killed.err" &
loader=$!
exec 3>"$dir/pipe"
head -n 5000 "$dir/one" >&3
check 'it says what it has loaded' await "$dir/killed.err" '2048 events are loaded' "$loader"
kill -KILL "$loader"
wait "$loader" 2>/dev/null
exec 3>&-
check 'that is there after a kill' holds_what_was_said killed "$(said killed.err)"

results
