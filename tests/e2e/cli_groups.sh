#!/usr/bin/env bash
# cli_groups.sh - ensign groups, and subscribe with groups and places: what a scripted server answers; a server
# without them; ensignd
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

ensign=$PWD/$BUILD/ensign
scripted=''

finish() {
    local pid
    main_shell || return
    for pid in $(children); do kill -KILL "$pid" 2>/dev/null; done
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

same() { [ "$1" = "$2" ] || { printf '%s\n%s\n' "$1" "$2"; return 1; }; }
# run ARGUMENT...: $status, and what it prints in $dir/out and $dir/err
run() {
    timeout 60 "$ensign" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
}
# does STATUS ARGUMENT...: ends with this exit status
does() {
    local wanted=$1
    shift
    run "$@"
    [ $status -eq "$wanted" ] || { echo "exit status $status"; cat "$dir/out" "$dir/err"; return 1; }
}
# prints TEXT ARGUMENT...: this alone on standard output, exit status 0
prints() {
    local text=$1
    shift
    does 0 "$@" && same "$text" "$(cat "$dir/out")"
}
# fails STATUS WORDS ARGUMENT...: the words are on standard error, and nothing on standard output
fails() {
    local wanted=$1 words=$2
    shift 2
    does "$wanted" "$@" || return 1
    [ ! -s "$dir/out" ] && grep -qF -- "$words" "$dir/err" || { cat "$dir/out" "$dir/err"; return 1; }
}
says() { # WORDS: of the last run, on standard error
    grep -qF -- "$1" "$dir/err" || { cat "$dir/err"; return 1; }
}

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
results
