#!/usr/bin/env bash
# cli_groups.sh - ensign groups, and subscribe with groups and places: what a scripted server answers; a server
# without them; ensignd
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/cli.sh

scripted=''

# ---- a scripted server: what is printed

# answers CALL...: one that answers so; what leads there is in "${there[@]}"
answers() {
    if [ -n "$scripted" ]; then kill "$scripted"; wait "$scripted"; fi 2>/dev/null
    : >"$dir/server"
    python3 tests/e2e/scripted.py "$@" >"$dir/server" &
    scripted=$!
    await "$dir/server" '' "$scripted" || return 1
    there=(--no-auth --plaintext --endpoint "127.0.0.1:$(head -n 1 "$dir/server")")
}
hex() { # MESSAGE: text of this message of ensignd.v1 on standard input, as hexadecimal digits
    protoc -Iproto -I"$google" "--encode=ensignd.v1.$1" ensignd/v1/groups.proto | od -An -v -tx1 | tr -d ' \n'
}
gives() { echo '{"replies": ['"$(printf '{"hex": "%s"}\n' "$@" | paste -sd,)"']}'; } # HEX...: messages of one answer

google=/usr/include
[ -e $google/google/protobuf/timestamp.proto ] || google=$(dirname "$(command -v protoc)")/../include
billing=$(hex Group <<'TEXT'
name: "billing" id: "0123456789abcdef" delivery: AT_LEAST_ONCE ack_wait { seconds: 30 nanos: 500000000 } members: 2
topics { name: "orders" topic_id: "0123456789abcdeg" offset: 41 lag: 7 pending: 3 redeliveries: 2 dead_letters: 1 }
topics { name: "returns" topic_id: "0123456789abcdeh" lag: 1 }
TEXT
)
odd=$(hex Group <<'TEXT'
id: "fedcba9876543210" delivery: AT_MOST_ONCE topics { name: "bad\033[31m" lag: 18446744073709551615 }
TEXT
)
check 'a server with two groups' answers "$(gives "$billing" "$odd")"
check 'ls' prints 'ID                          DELIVERY       MEMBERS  TOPICS         LAG   PENDING  NAME
1G64S36D1N6RVKGEB1C9HP8SB6  at-least-once        2       2           8         3  billing
36CNJ66RK174W3EDHN6GSK4C9G  at-most-once         0       1  18446744073709551615         0  ' \
    groups ls "${there[@]}"
check 'a server with a group' answers "$(gives "$billing")"
check 'ls as JSON' prints '{"name":"billing","id":"1G64S36D1N6RVKGEB1C9HP8SB6","delivery":"at-least-once",'\
'"ack_wait":30.5,"members":2,"topics":[{"name":"orders","id":"1G64S36D1N6RVKGEB1C9HP8SB7","offset":41,"lag":7,'\
'"pending":3,"redeliveries":2,"dead_letters":1},{"name":"returns","id":"1G64S36D1N6RVKGEB1C9HP8SB8","offset":0,'\
'"lag":1,"pending":0,"redeliveries":0,"dead_letters":0}]}' groups ls --json "${there[@]}"
billing_text='name      billing
id        1G64S36D1N6RVKGEB1C9HP8SB6
delivery  at-least-once
ack wait  30.5 s
members   2
      OFFSET         LAG   PENDING  REDELIVERIES  DEAD LETTERS  TOPIC
          41           7         3             2             1  orders
           0           1         0             0             0  returns'
check 'show' prints "$billing_text" groups show billing "${there[@]}"
check 'reset shows the group' prints "$billing_text" groups reset billing orders --to live "${there[@]}"
check 'a group with odd names' answers "$(gives "$odd")"
no_controls() { ! LC_ALL=C grep -q $'\033' "$dir/out"; }
check 'show: what came is escaped' does 0 groups show 36CNJ66RK174W3EDHN6GSK4C9G "${there[@]}"
check 'no control character is left' no_controls
check 'a server without a group' answers '{"replies": []}'
check 'ls of none says how a group is made' fails 0 'ensign subscribe TOPIC --group NAME' groups ls "${there[@]}"
check 'ls of none, as JSON' prints '' groups ls --json "${there[@]}"
check 'a server that does it' answers "$(gives '')"
check 'rm' fails 0 'group billing is removed' groups rm billing --yes "${there[@]}"
check 'rm as JSON' prints '{"removed":"billing"}' groups rm billing --yes --json "${there[@]}"
check 'answers that are no group' answers "$(gives ff)"
check 'show of it' fails 1 "the server's answer is no group" groups show a "${there[@]}"
check 'ls of it' fails 1 "the server's answer is no group" groups ls "${there[@]}"
check 'a group that is not there' answers '{"status": 5, "text": "not here"}'
check 'show: it is the group' fails 5 'there is no group "a"; ensign groups ls lists them' groups show a "${there[@]}"
check 'reset of a topic: it may be the topic' fails 5 'not here' groups reset a t --to live "${there[@]}"
check 'a group with members' answers '{"status": 9, "text": "it has 2 members"}'
check "rm: the server's words, exit status 1" fails 1 'it has 2 members' groups rm a --yes "${there[@]}"
check 'a key without the permission' answers '{"status": 7, "text": "no"}'
check 'exit status 4' fails 4 'no' groups ls "${there[@]}"
check 'a server without the service' answers '{"status": 12, "text": "unknown service"}'
lacks='this server has no service for groups (ensignd.v1.Groups); ensignd has it, but not with --strict'
check 'ls: it lacks the service' fails 5 "$lacks" groups ls "${there[@]}"
check 'show: the same' fails 5 "$lacks" groups show a "${there[@]}"
check 'rm: the same' fails 5 "$lacks" groups rm a --yes "${there[@]}"
check 'reset: the same' fails 5 "$lacks" groups reset a --to 2026-03-09T10:11:12Z "${there[@]}"
if [ -n "$scripted" ]; then kill "$scripted"; wait "$scripted"; scripted=''; fi 2>/dev/null

# ---- ensignd, as the real server is

check 'ensignd --strict' server_start --memory --port 0 --auth-port 0 --strict
check 'a topic' does 0 topics create orders
check 'events' does 0 publish orders one two three
check 'strict: there are no groups' fails 5 "$lacks" groups ls
no_offsets='this server gives its events no offsets, so a subscription cannot begin there; ensignd gives them'
for place in 2 beginning; do
    check "strict: --from $place is one error" fails 5 "--from $place: $no_offsets" \
        subscribe orders --from $place --timeout 30
    check 'strict: it is the only one' same 1 "$(grep -c 'no offsets' "$dir/err")"
done
server_stop

# ---- ensignd: places

# start NAME ARGUMENT...: beside; NAME.out, NAME.err, $pid
start() {
    local name=$1
    shift
    true >"$dir/$name.out" 2>"$dir/$name.err" # now, or what an earlier one left there could be read
    timeout 60 "$ensign" "$@" >"$dir/$name.out" 2>"$dir/$name.err" </dev/null &
    pid=$!
}
# ended NAME STATUS: that one has ended by itself, with this exit status
ended() {
    wait "$pid"
    same "$2" $? || { cat "$dir/$1.err"; return 1; }
}
# gets TEXT ARGUMENT...: a subscriber of just these events, a line each
gets() {
    local text=$1
    shift
    prints "$text" subscribe --raw --count "$(wc -l <<<"$text")" "$@"
}
lines() { printf '%s\n' "$@"; }

check 'ensignd' server_start "$dir/D" --port 0 --auth-port 0 --max-deliver 2
check 'two topics' does 0 topics create orders
check 'the other one' does 0 topics create a.b
check 'events of one' does 0 publish orders 1 2
check 'an event of the other' does 0 publish a.b 3
check 'one more' does 0 publish orders 4
check 'queries tell offsets and times' does 0 query 'SELECT * FROM orders' --format '%o %C\n'
mapfile -t stored <"$dir/out"
offset=${stored[1]%% *} time=${stored[2]##* }
check 'from the beginning' gets "$(lines 1 2 4)" orders --from beginning
check 'from an offset' gets "$(lines 2 4)" orders --from "$offset"
check 'from the offset behind it' gets 4 orders --from $((offset + 1))
check 'the last two' gets "$(lines 2 4)" orders --from -2
check 'the last of more than there are' gets "$(lines 1 2 4)" orders --from -10
check 'from a time' gets 4 orders --from "$time"
check 'a time before all' gets "$(lines 1 2 4)" orders --from 2020-01-01T00:00:00+01:00
check 'two topics from a time' gets 4 orders a.b --from "$time"
check 'all topics from the beginning' gets "$(lines 1 2 3 4)" --from beginning
check 'a topic by its id' does 0 topics show orders --json
id=$(sed 's/.*"id":"\([^"]*\)".*/\1/' "$dir/out")
check 'the last of it' gets 4 "$id" --from -1
last_of_two() { does 0 subscribe orders a.b --from -1 --raw --count 2 && same "$(lines 3 4)" "$(sort "$dir/out")"; }
check 'the last of each of two topics, one with a dot' last_of_two
check 'an event as text has its offset' does 0 subscribe orders --from "$offset" --count 1
check 'here it is' grep -qF "offset: $offset" "$dir/out"
check 'no such topic' fails 5 'topic' subscribe none --from -1 --count 1
check 'a topic to be made has no event' does 6 subscribe fresh -e --from -1 --count 1 --timeout 100ms
behind_all() { # a subscriber from a time behind all events gets what is published next
    start later subscribe orders --from 2036-01-01T00:00:00Z --raw --count 1
    await "$dir/later.err" 'open, orders' "$pid" && does 0 publish orders 5 && ended later 0 &&
        same 5 "$(cat "$dir/later.out")"
}
check 'a time behind all events' behind_all

# restarts A B C OPTION...: a subscriber gets A; the server is started again; B and C come, and no gap is told.
# In the group billing, A is acked by then.
restarts() {
    local endpoint=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:} a=$1 b=$2 c=$3
    shift 3
    start resumed subscribe orders --raw --count 3 "$@"
    await "$dir/resumed.err" 'open, orders' "$pid" && does 0 publish orders "$a" &&
        await "$dir/resumed.out" "$a" "$pid" &&
        { [ "$1" != --group ] || until_group 't["lag"] == 0'; } && server_stop &&
        server_start "$dir/D" --port "$endpoint" --auth-port "$auth" --max-deliver 2 &&
        does 0 publish orders "$b" "$c" && ended resumed 0 &&
        same "$(lines "$a" "$b" "$c")" "$(cat "$dir/resumed.out")" && ! grep -F missing "$dir/resumed.err"
}
check 'resume over a restart' restarts 6 7 8 --resume

# ---- ensignd: groups

group() { # EXPRESSION: over `g`, the group billing, and `t`, its place in orders
    "$ensign" groups show billing --json >"$dir/out" 2>"$dir/err" </dev/null && python3 -c 'import json, sys
g = json.load(open(sys.argv[1], encoding="utf-8"))
t = [t for t in g["topics"] if t["name"] == "orders"][0]
if not eval("(" + sys.argv[2] + ")"): sys.exit("%s is false of %s" % (sys.argv[2], g))' "$dir/out" "$1"
}
member=(orders --group billing)
check 'no group yet' fails 0 'the project has no group yet' groups ls
check 'a new group begins where it is told to' gets "$(lines 1 2)" "${member[@]}" --from beginning
check 'it has a place' group 'g["name"] == "billing" and g["members"] == 0 and g["delivery"] == "at-least-once"'
check 'what was acked is done' group "t['offset'] == $offset and t['lag'] == 5 and t['pending'] == 0"
check 'the next member goes on there, whatever --from says' gets "$(lines 4 5)" "${member[@]}" --from beginning
check 'ls tells the lag' does 0 groups ls
check 'a line of it' grep -qE 'at-least-once +0 +1 +3 +0  billing$' "$dir/out"
check 'without acks it comes again' gets 6 "${member[@]}" --no-ack
check 'here it is again' gets 6 "${member[@]}" --ack
check 'of two, each second one is nacked' gets "$(lines 7 8)" "${member[@]}" --nack-every 2:unknown-type
until_group() { # EXPRESSION: asks until it is true
    local left
    for ((left = 200; left > 0; left--)); do group "$1" && return; done
    return 1
}
nacked() { # it comes again, and is nacked once more
    start nacked subscribe "${member[@]}" --raw --nack-every 1:UNKNOWN_TYPE
    until_group 't["dead_letters"] == 1' && kill "$pid"
    wait "$pid"
    same 8 "$(cat "$dir/nacked.out")"
}
check 'the nacked one comes again' nacked
check 'then it is a dead letter' does 0 subscribe orders-dead --from beginning --count 1 --json
dead() { # it has its data and the reason
    python3 -c 'import json, sys
e = json.load(open(sys.argv[1], encoding="utf-8"))
m = e["metadata"]
sys.exit(0 if (e["data"], m["ensignd-dead-reason"], m["ensignd-dead-topic"], m["ensignd-dead-group"],
               m["ensignd-dead-deliveries"]) == ("8", "UNKNOWN_TYPE", "orders", "billing", "2") else str(e))' "$dir/out"
}
check 'with its reason' dead
check 'it is counted' group 't["dead_letters"] == 1 and t["lag"] == 0 and t["redeliveries"] >= 1'
busy() { # a group with a member
    start busy subscribe "${member[@]}" --raw --count 1
    await "$dir/busy.err" 'open, orders' "$pid" && group 'g["members"] == 1' &&
        fails 1 'the group has members' groups rm billing --yes &&
        fails 1 'the group has members' groups reset billing --to beginning &&
        does 0 publish orders 9 && ended busy 0 && same 9 "$(cat "$dir/busy.out")"
}
check 'a group with a member stays as it is' busy
check 'reset to an offset' does 0 groups reset billing --to "$offset"
check 'it goes on there' gets "$(lines 2 4)" "${member[@]}"
check 'reset to a time, of one topic' does 0 groups reset billing orders --to "$time"
check 'it goes on there, too' gets 4 "${member[@]}"
check 'reset to the beginning' does 0 groups reset billing --to beginning --json
check 'it begins anew' gets "$(lines 1 2)" "${member[@]}"
check 'reset to live' does 0 groups reset billing --to live
check 'nothing is left' group 't["lag"] == 0'
check 'reset of no topic' fails 5 'none' groups reset billing none --to live
check 'reset of no group' fails 5 'there is no group "none"' groups reset none --to live
check 'rm' fails 0 'group billing is removed' groups rm billing --yes
check 'it is gone' fails 5 'there is no group "billing"' groups show billing
reader() { # the key that may read topics, and not edit them
    ENSIGN_CLIENT_ID=$ENSIGN_READER_CLIENT_ID ENSIGN_CLIENT_SECRET=$ENSIGN_READER_CLIENT_SECRET "$@"
}
check 'a reader may look' reader does 0 groups ls
check 'a reader may change nothing' reader fails 4 'permission' groups rm billing --yes
completion() { # WORD...: what may stand for the last one
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _ensign
        printf "%s\n" "${COMPREPLY[@]}"' "$PWD/tools/ensign/ensign.bash" "$ensign" "$@" 2>&1
}
live() { # a new group without --from
    start live subscribe "${member[@]}" --raw --count 1
    await "$dir/live.err" 'open, orders' "$pid" && does 0 publish orders ten && ended live 0 &&
        same ten "$(cat "$dir/live.out")"
}
check 'a new group begins live' live
check 'a group goes on over a restart, without a gap' restarts thirteen fourteen fifteen --group billing
check 'completion: groups' same billing "$(completion groups show '')"
check 'completion: of --group' same billing "$(completion subscribe --group b)"

# ---- the page

page=$PWD/tools/docs/groups.md
block() { # LANGUAGE: the block of the page in it
    awk -v start="\`\`\`$1" '$0 == start {on = 1; next} /^```$/ {on = 0} on' "$page"
}
worker() { # its program compiles, and is a member
    mkdir -p "$dir/include" && cp ensign.h "$dir/include" && block c >"$dir/worker.c" &&
        "${CC:-gcc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$dir/include" -o "$dir/worker" "$dir/worker.c" \
            -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb || return 1
    "$dir/worker" >"$dir/worker.out" 2>"$dir/worker.err" &
    pid=$!
    does 0 publish orders eleven twelve && await "$dir/worker.out" twelve "$pid"
    kill "$pid"
    wait "$pid" 2>/dev/null
    same "$(lines eleven twelve)" "$(cat "$dir/worker.out")" || { cat "$dir/worker.err"; return 1; }
}
check 'the program of the page is a member' worker
picked=(orders --group picked --filter "SELECT * FROM orders WHERE @data IN ('2', '5') OFFSET 0")
check 'a group with a filter' gets "$(lines 2 5)" "${picked[@]}"
picked_live() { # it has looked at all others
    start picked subscribe "${picked[@]}" --raw --count 1
    await "$dir/picked.err" 'open, orders' "$pid" && does 0 publish orders 17 5 && ended picked 0 &&
        same 5 "$(cat "$dir/picked.out")"
}
check 'it goes on at its place' picked_live
check 'another filter is refused' fails 1 "@data IN ('2', '5')" subscribe orders --group picked --count 1 \
    --filter "SELECT * FROM orders WHERE @data = '2'"
check 'so is none' fails 1 'no query' subscribe orders --group picked --count 1
check 'rm of it' does 0 groups rm picked --yes
python_parses() { block python | python3 -c 'import ast, sys; ast.parse(sys.stdin.read())'; }
check 'the Python of the page is Python' python_parses
server_stop
page_shows() { # WORDS: what the page prints behind the command that has them
    awk -v words="$1" '/^    \$ / {on = index($0, words) > 0; next} !/^    / {on = 0} on {print $1}' "$page"
}
page_session() { # its first commands
    local line
    server_start "$dir/E" --port 0 --auth-port 0 && does 0 topics create orders || return 1
    start first subscribe orders --group billing --raw --from beginning --count 2
    does 0 publish orders one two three && ended first 0 && same "$(lines one two)" "$(cat "$dir/first.out")" &&
        does 0 groups show billing || return 1
    while IFS= read -r line; do
        grep -qxF "    $line" "$page" || { echo "the page lacks: $line"; return 1; }
    done <"$dir/out"
    gets three orders --group billing && does 0 publish orders four five six seven &&
        gets "$(page_shows '--nack-every 2')" orders --group billing --nack-every 2
}
check 'the session of the page' page_session
server_stop
results
