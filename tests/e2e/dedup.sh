#!/usr/bin/env bash
# dedup.sh - duplicates that ensignd finds when they are published: what is stored, queried and delivered of
# them, over a kill of the server, and where it does not look
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh
ensign=$PWD/$BUILD/ensign
subscriber=''
finish() {
    main_shell || return
    [ -z "$subscriber" ] || kill -KILL "$subscriber" 2>/dev/null
    server_stop KILL
    rm -rf "$dir" "$data"
}
trap finish EXIT
trap 'exit 130' INT TERM
data=$(mktemp -d "$BUILD/dedup.XXXXXX") || exit 1

runs() { # ARGUMENT...: in $data/out and err
    timeout 60 "$ensign" "$@" >"$data/out" 2>"$data/err" </dev/null || { cat "$data/err"; return 1; }
}
put() { runs publish "$@"; } # TOPIC EVENT...
holds() { # "WHOLE ALL" TOPIC: how many events a query gives, and how many with duplicates
    runs query "SELECT * FROM $2" --raw || return 1
    local whole
    whole=$(wc -l <"$data/out")
    runs query "SELECT * FROM $2" --raw -D || return 1
    [ "$1" = "$whole $(wc -l <"$data/out")" ] || { echo "$whole $(wc -l <"$data/out")"; return 1; }
}
gives() { # TEXT TOPIC: its events, without duplicates
    runs query "SELECT * FROM $2" --raw || return 1
    [ "$1" = "$(cat "$data/out")" ] || { cat "$data/out"; return 1; }
}
same_again() { # TOPIC: with duplicates, each data as often as it was published
    runs query "SELECT * FROM $1" --raw -D && sort "$data/out" | uniq -c | awk '{ print $1 }' | sort -u |
        { read -r n && [ "$n" = 3 ] && ! read -r n; }
}

start() { server_start "$data/d" --port 0 --auth-port 0 "$@"; }
killed() { server_stop KILL; start "$@"; }

check 'the server starts'                     start
runs topics create plain
runs topics create data --dedup datagram
runs topics create keyed --dedup unique-key --keys id
check 'without a policy'                      put plain a a
check 'nothing is a duplicate'                holds '2 2' plain
check 'two of the same in one call'           put data a b a
check 'the second one is a duplicate'         holds '2 3' data
check 'and again'                             put data b a c
check 'only the new one counts'               gives $'a\nb\nc' data
check 'all are stored'                        holds '3 6' data
check 'a key'                                 put keyed --meta id=7 one
check 'the same key, other data'              put keyed --meta id=7 two
check 'another key'                           put keyed --meta id=8 one
check 'the key decides'                       holds '2 3' keyed
runs query 'SELECT * FROM keyed' --raw -D
check 'other data are kept'                   [ "$(cat "$data/out")" = $'one\ntwo\none' ]
check 'the numbers tell it'                   eval 'runs info && grep -qE "^ *6 +3 .*data$" "$data/out"'

# ---- subscribers get all of them

"$ensign" subscribe data --raw --count 3 >"$data/live" 2>"$data/live.err" &
subscriber=$!
await "$data/live.err" open "$subscriber"
put data a d a
wait "$subscriber"
check 'a subscriber gets them whole'          [ "$? $(tr '\n' ' ' <"$data/live")" = '0 a d a ' ]
subscriber=''

# ---- each event three times, in each order

runs topics create many --dedup strict
for order in 'sort -n' 'sort -n' 'sort -rn'; do seq 500 | $order; done >"$data/twice"
for i in $(seq 300); do printf '%s\n%s\n%s\n' "x$i" "x$i" "x$i"; done >"$data/pairs"
check 'a file with copies'                    put many --lines "$data/twice"
check 'a file with copies side by side'       put many --lines "$data/pairs"
check 'each is once'                          holds '800 2400' many
check 'and three times with duplicates'       same_again many

# ---- over a restart

check 'it is killed, and starts'              killed
check 'what it had is published again'        put many --lines "$data/twice"
check 'nothing is new'                        holds '800 3900' many
check 'a new one is'                          put many new
check 'once'                                  holds '801 3901' many

# ---- where it does not look

check 'no window'                             killed --dedup-window 0
check 'a copy is published'                   put data a
check 'it is a new event'                     holds '5 10' data
check 'as the real server'                    killed --strict
check 'a copy is published'                   put data b
check 'it is a new event'                     holds '6 11' data
check 'it ends'                               server_stop
results
