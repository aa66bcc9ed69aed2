#!/usr/bin/env bash
# cli.sh - ensign against ensignd: a session as a user has it, with 100,000 lines; each command, what it
# prints and its exit status; JSON; hostile bytes; signals; a closed standard output
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/cli.sh

LINES=100000

# ---- what it prints

no_terminal=$(python3 tests/e2e/pty.py) || [ $? -eq 3 ] || no_terminal=''
# on_terminal 'what' COMMAND...: as check, for what needs a pseudo-terminal: left out where there is none
on_terminal() {
    if [ -z "$no_terminal" ]; then check "$@"; else tap ok "$1 # SKIP $no_terminal"; fi
}
# json EXPRESSION: over `rows`, the objects that the last run printed
json() {
    python3 -c 'import json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
if not eval("(" + sys.argv[2] + ")"): sys.exit("%s is false of %s" % (sys.argv[2], rows))' "$dir/out" "$1"
}
# prints_json EXPRESSION ARGUMENT...
prints_json() {
    local expression=$1
    shift
    does 0 "$@" --json && json "$expression"
}

# start NAME ARGUMENT...: beside; NAME.out, NAME.err, $pid. Standard input is NAME.in, held open by 3, if it
# is there.
start() {
    local name=$1 input=/dev/null
    shift
    [ -p "$dir/$name.in" ] && input=$dir/$name.in
    : >"$dir/$name.out" # now, or what an earlier one of this name left there could be read
    : >"$dir/$name.err"
    "$ensign" "$@" >"$dir/$name.out" 2>"$dir/$name.err" <"$input" 3>&- &
    pid=$!
}
pipe() { mkfifo "$dir/$1.in"; } # NAME: start NAME will read it; exec 3>NAME.in writes it
# ends STATUS NAME PID: by itself, with this exit status
ends() {
    await_end "$3" 60 || { echo "$2 does not end"; cat "$dir/$2.err"; return 1; }
    wait "$3"
    local status=$?
    [ $status -eq "$1" ] || { echo "exit status $status"; cat "$dir/$2.err"; return 1; }
}
hears() { await "$dir/$1.err" "$2" "$3" || { cat "$dir/$1.err"; return 1; }; } # NAME WORDS PID
gets() { await "$dir/$1.out" "$2" "$3" || { cat "$dir/$1.err"; return 1; }; }  # NAME WORDS PID

# ---- a session: the one of the README

session() {
    local sub
    seq -f 'reading %06.0f' $LINES >"$dir/readings"
    check 'the server is healthy' prints_json 'rows[0]["state"] == "healthy"' status
    check 'no topic yet' fails 0 'ensign topics create NAME makes one' topics ls
    check 'a topic is made' prints_json 'rows[0]["name"] == "weather" and rows[0]["state"] == "ready"' \
        topics create weather
    check 'it is listed' prints_json '[r["name"] for r in rows] == ["weather"]' topics ls
    start sub subscribe weather --raw --count $LINES
    sub=$pid
    check 'elsewhere somebody subscribes' hears sub 'open, weather' "$sub"
    check "$LINES lines of a file are published" prints '' publish weather --lines "$dir/readings" --progress
    check 'with progress' says '100 %  100,000 read, 100,000 stored'
    check 'with a summary' says '100,000 of 100,000 events stored, in '
    check 'the subscriber has them all' ends 0 sub "$sub"
    check 'in order' cmp "$dir/readings" "$dir/sub.out"
    check 'and says how many' grep -q '100,000 events received, 1.4 MB, in ' "$dir/sub.err"
    check 'a query has them too' does 0 query 'SELECT * FROM weather' --raw
    check 'all of them, in order' cmp "$dir/readings" "$dir/out"
    check 'and counts them' says '100,000 events'
    check 'a query of three' prints "$(sed -n 11,13p "$dir/readings")" \
        query 'SELECT * FROM weather LIMIT 3 OFFSET 10' --raw
    check 'info knows the topic' prints_json '[r["name"] for r in rows if r["kind"] == "topic"] ==
        ["weather"]' info
}

# 60 MB from a pipe, in an address space that they would not fit; sanitizers need more of it to begin with.
constant_memory() {
    (
        (ulimit -v 50000 && "$ensign" --version) && ulimit -v 50000
        awk 'BEGIN {for (i = 0; i < 100000; i++) printf "%0600d\n", i}' |
            timeout 60 "$ensign" publish memory -e
    ) >"$dir/out" 2>"$dir/err" && says '100,000 of 100,000 events stored'
}

# ---- publish

stored() { # N ARGUMENT...: that many, none refused
    local count=$1
    shift
    does 0 publish "$@" --json &&
        json "(rows[-1]['kind'], rows[-1]['acked'], rows[-1]['published']) == ('summary', $count, $count)"
}
data() { # TOPIC: what is stored
    "$ensign" query "SELECT * FROM $1" --raw -q
}
publishes() {
    local image=$dir/image.pdf id
    check 'arguments' stored 2 args -e one 'two three'
    check 'arguments: the data' same "$(printf 'one\ntwo three')" "$(data args)"
    printf 'a\n\nb' >"$dir/lines"
    check 'lines: an empty one is none, the last needs no newline' stored 2 lines -e --lines "$dir/lines"
    check 'lines: the data' same "$(printf 'a\nb')" "$(data lines)"
    printf '\001\n\000\377' >"$image"
    check 'a file is one event' stored 1 file -e --file "$image"
    does 0 query 'SELECT * FROM file' --no-newline
    check 'a file: its bytes' cmp "$image" "$dir/out"
    check 'a file: its MIME type' prints_json 'rows[0]["mimetype"] == "application/pdf" and
        rows[0]["data_encoding"] == "base64" and rows[0]["data"] == "AQoA/w=="' query 'SELECT * FROM file'
    check 'all that an event can have' stored 1 all -e '{"a": 1}' -m application/json -t Update@1.20.3 \
        -k key --meta a=b --meta 'c=d=é' --name the-sensor
    check 'all of it is there' prints_json 'rows[0]["mimetype"] == "application/json" and
        rows[0]["type"] == {"name": "Update", "version": "1.20.3"} and rows[0]["key"] == "key" and
        rows[0]["metadata"] == {"a": "b", "c": "d=é"} and rows[0]["publisher"] == "the-sensor" and
        rows[0]["data"] == "{\"a\": 1}" and rows[0]["data_encoding"] == "text" and rows[0]["id"] and
        rows[0]["created"].endswith("Z")' query 'SELECT * FROM all'
    printf '{"a": [1, 2.5e3, "\\u00e9", null]}\n"x"\n{"a": 1,}\n"y"\n' >"$dir/ndjson"
    check 'ndjson: ends at a line that is no JSON' fails 2 'line 3 is not a JSON value' publish json -e \
        --ndjson --lines "$dir/ndjson"
    check 'ndjson: what stands before is stored' prints_json '[r["mimetype"] for r in rows] ==
        ["application/json"] * 2' query 'SELECT * FROM json'
    check 'acks: a line for each' does 0 publish args x y --acks
    check 'acks: with the time' test "$(grep -cxE 'ack [12] [0-9T:-]+\.[0-9]+Z' "$dir/out")" -eq 2
    check 'acks: as JSON' prints_json '[r["event"] for r in rows if r["kind"] == "ack"] == [1, 2]' \
        publish args x y --acks
    check 'rate: 5 events at 20 a second' prints_json 'rows[-1]["acked"] == 5 and
        rows[-1]["seconds"] >= 0.19' publish args 1 2 3 4 5 --rate 20
    id=$("$ensign" topics show args --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
    check 'a topic by its id' stored 1 "$id" by-id
    check 'a topic by its id: there it is' same by-id "$(data args | tail -n 1)"
    check 'no such topic' fails 5 'TOPIC_UNKNOWN' publish nope x
    check 'no such topic: what to do' says '; --ensure-topic makes the topic'
    check 'no such topic, as JSON' does 5 publish nope x --json
    check 'no such topic: each event is told' json 'rows[0]["kind"] == "nack" and rows[0]["event"] == 1 and
        rows[0]["code"] == "TOPIC_UNKNOWN" and rows[0]["stored"] == "no" and rows[1]["refused"] == 1'
    head -c 4194305 /dev/zero | tr '\0' x >"$dir/large"
    check 'a line that is too long' fails 2 'line 1 has over 4194304 bytes' publish args --lines "$dir/large"
    check 'a file that is too large' fails 2 'is larger than 4194304 bytes' publish args --file "$dir/large"
    check 'nothing to publish is no error' prints_json 'rows[0]["published"] == 0' publish args
}

# ---- subscribe, query

subscribes() {
    local sub
    check 'no topic of that name' fails 5 'none of the topics' subscribe nope
    check 'time is up, nothing was asked for' fails 0 '0 events received' subscribe args --timeout 2
    check 'time is up before the count' fails 6 '0 events received' subscribe args --timeout 100ms -n 1
    check 'nothing came for so long' fails 6 '0 events received' subscribe args --idle 100ms -n 1
    start text subscribe args -n 1
    sub=$pid
    hears text 'open, args' "$sub" && run publish args 'as text'
    check 'text: ends after one' ends 0 text "$sub"
    check 'text: the data, readable' grep -qx "$(printf '\tdata: as text')" "$dir/text.out"
    check 'text: one topic is not named' same '' "$(grep topic: "$dir/text.out")"
    start out subscribe made-by-a-subscriber --ensure-topic --json -n 2
    sub=$pid
    hears out 'open, made-by' "$sub" && run publish made-by-a-subscriber 1 2
    check 'JSON: ends after two' ends 0 out "$sub"
    cp "$dir/out.out" "$dir/out"
    check 'JSON: both, with the topic' json '[(r["kind"], r["topic"], r["data"]) for r in rows] ==
        [("event", "made-by-a-subscriber", "1"), ("event", "made-by-a-subscriber", "2")] and
        rows[0]["committed"].endswith("Z")'
    start all subscribe --null -n 3
    sub=$pid
    hears all 'open, all topics' "$sub" && run publish args a && run publish lines b && run publish args c
    check 'all topics' ends 0 all "$sub"
    start named subscribe --format '%t: %d\n' -n 2
    sub=$pid
    hears named 'open, all topics' "$sub" && run publish args x && run publish lines y
    check 'all topics: each event names its own' ends 0 named "$sub"
    check 'all topics: in the format' same "$(printf 'args: x\nlines: y')" "$(cat "$dir/named.out")"
    check 'a zero byte behind each' same 'a b c ' "$(tr '\0' ' ' <"$dir/all.out")"
    missing
}
missing() {
    local sub
    start two subscribe args lines -n 1
    sub=$pid
    hears two 'open, args' "$sub" && run publish args two
    check 'two topics: ends after one event' ends 0 two "$sub"
    check 'two topics: the event names its own' grep -qx "$(printf '\ttopic: args')" "$dir/two.out"
    check 'two topics: the first is named' grep -qx 'ensign: open, args and 1 more' "$dir/two.err"
    check 'two topics: none is missing' same '' "$(grep 'there is no topic' "$dir/two.err")"
    start some subscribe wether args lines 01GZ1ASDEPPFWD485HSQKDAS4K -n 1
    sub=$pid
    hears some 'open, args' "$sub" && run publish args some
    check 'missing topics: the others bring events' ends 0 some "$sub"
    check 'missing topics: those that are there' grep -qx 'ensign: open, args and 1 more' "$dir/some.err"
    check 'missing topics: a line for each other' same \
        "$(printf 'ensign: there is no topic "%s"; it brings no events\n' \
            wether 01GZ1ASDEPPFWD485HSQKDAS4K)" "$(grep 'there is no topic' "$dir/some.err")"
}
queries() {
    check 'no event is no error' fails 0 '0 events' query 'SELECT * FROM args LIMIT 5 OFFSET 1000'
    check 'no event, as JSON' prints '' query 'SELECT * FROM args LIMIT 5 OFFSET 1000' --json -q
    check 'syntax' fails 1 'syntax error at position 0 near "SELEC"' query SELEC
    check 'no such topic, asked' fails 5 'unknown topic in query' query 'SELECT * FROM nope'
    check 'ends after two rows' prints "$(printf 'one\ntwo three')" query 'SELECT * FROM args' --raw -n 2
    check 'parameters of all types' does 0 query 'SELECT * FROM args LIMIT 1' -p a=int:-5 -p b=double:1e3 \
        -p c=bool:true -p d=string:x:y=z -p e=bytes:00ff
    echo 'SELECT * FROM lines LIMIT 1' >"$dir/sql"
    check 'from standard input' same a "$("$ensign" query - --raw <"$dir/sql" 2>&1 | head -n 1)"
}

# ---- what events look like

looks() {
    local long row sub
    long=$(printf '%0120d' 7)
    check 'an event of all parts' stored 1 parts -e 'Zürich "€" \' -m application/json -t Update@1.20.3 \
        -k 'Ä' --meta a=b --meta 'c=d e'
    check 'another, with control characters' stored 1 parts "$(printf 'a\nb\r\t\177')"
    check 'a long one' stored 1 parts "$(printf '%099d' 1)ü$long"
    check 'one that is no UTF-8, of a type without a name' stored 1 parts --file "$dir/image.pdf" -m 12345
    check 'text' does 0 query 'SELECT * FROM parts'
    cp "$dir/out" "$dir/text"
    check 'text: its lines' same "$(printf '\tdata: Zürich "€" \\\n\tmimetype: application/json
\tschema: Update v1.20.3\n\tkey: Ä\n\tmeta: a=b, c=d e')" "$(sed -n 4,8p "$dir/text")"
    check 'text: the id, the offset, the times' same 'id offset created committed' \
        "$(head -n 10 "$dir/text" | grep -oE '^.(id|offset|created|committed): ' | tr -dc 'a-z \n' | xargs)"
    check 'text: control characters are escaped' grep -qxF "$(printf '\tdata: ')a\\nb\\r\\t\\x7f" "$dir/text"
    check 'text: a hundred characters are shown' grep -qx "$(printf '\tdata: %099dü...' 1)" "$dir/text"
    check 'text: bytes that are no UTF-8' grep -qxF "$(printf '\tdata: ')\\x01\\n\\x00\\xff" "$dir/text"
    check 'text: a type without a name' grep -qx "$(printf '\tmimetype: 12345')" "$dir/text"
    check '--full' does 0 query 'SELECT * FROM parts' --full
    check '--full: all of the data' grep -qx "$(printf '\tdata: %099dü%s' 1 "$long")" "$dir/out"
    check '--python' does 0 query 'SELECT * FROM parts' --python
    check '--python: the data as a literal' grep -qxF \
        "$(printf "\tdata: b'Z")\\xc3\\xbcrich \"\\xe2\\x82\\xac\" \\\\'" "$dir/out"
    check '--python: the rest as it prints it' same "$(printf "\tmeta: {'a': 'b', 'c': 'd e'}
\tstate: EventState.SUBSCRIBED")" "$(sed -n 6,7p "$dir/out")"
    row=$("$ensign" query 'SELECT * FROM parts' --json -n 1 -q)
    check 'JSON names the topic of a row' same parts "$(field topic "$row")"
    check 'a format: the offset' does 0 query 'SELECT * FROM parts' -n 1 --format '%o'
    check 'a format: it is a place' grep -Eqx '[1-9][0-9]*' "$dir/out"
    check 'a format: each part' prints "parts|$(cat "$dir/out")|$(field id "$row")|Zürich \"€\" \\|Zürich \"€\" \\|15|Ä|2" \
        query 'SELECT * FROM parts' -n 1 --format '%t|%o|%i|%d|%s|%S|%k|%K'
    check 'a format: the other parts' prints \
        "a=b,c=d e|application/json|Update v1.20.3|$(field publisher "$row")|%" \
        query 'SELECT * FROM parts' -n 1 --format '%h|%m|%y|%p|%%'
    check 'a format: times' prints "$(field created "$row") $(field committed "$row")" \
        query 'SELECT * FROM parts' -n 1 --format '%c %C'
    check 'a format: milliseconds since 1970' prints "$(date -u -d "$(field created "$row")" +%s%3N)" \
        query 'SELECT * FROM parts' -n 1 --format '%T'
    check 'a format: characters' prints "$(printf 'a\tb\r\\A|c')" query 'SELECT * FROM parts' -n 1 \
        --format 'a\tb\r\\\x41|c\n'
    "$ensign" query 'SELECT * FROM parts' -q --format '%d\0' | tail -c 5 >"$dir/out"
    check 'a format: zero bytes, and data as they are' same '01 0a 00 ff 00' \
        "$(od -An -tx1 "$dir/out" | xargs)"
    on_terminal 'a format on a terminal: escaped' shows "$(printf '\\x01\n\\x00\\xff')" \
        query 'SELECT * FROM parts LIMIT 1 OFFSET 3' -q --format '%d'
}
field() { # NAME OBJECT
    python3 -c 'import json, sys; print(json.loads(sys.argv[2])[sys.argv[1]])' "$1" "$2"
}

# ---- a dump is published again

again() {
    local sub dump=$dir/dump
    start dump subscribe original --ensure-topic --json -n 5
    sub=$pid
    hears dump 'open, original' "$sub"
    run publish original 'Zürich "€" \' -m application/json -t Update@1.20.3 -k "$(printf 'k\303\374')" \
        --meta 'c=d "e"' --meta a=b
    printf '\000\n\377' | "$ensign" publish original --file - -m 12345 2>"$dir/err"
    printf 'a\nb\0\0c' | "$ensign" publish original --null 2>"$dir/err"
    check '--null: two events, and none between zero bytes' says '2 of 2 events stored'
    echo '{"data": ""}' | "$ensign" publish original --from-json - 2>"$dir/err"
    check 'JSON by hand: no data at all' says '1 of 1 events stored'
    check 'a dump of five events' ends 0 dump "$sub"
    check 'it is published' stored 5 copy -e --from-json "$dir/dump.out"
    check 'what it was printed of is there again' same "$(lasting <"$dir/dump.out")" "$(stored_json copy)"
    check 'from a pipe, too, of a query' piped
    check 'that is the same again' same "$(lasting <"$dir/dump.out")" "$(stored_json third)"
    twice >"$dir/messages"
    # shellcheck disable=SC2046 # words
    check 'a key of metadata twice, from another publisher' does 0 call --hex ensign.v1beta1.Ensign/Publish \
        $(cat "$dir/messages")
    check 'it is printed once' does 0 query 'SELECT * FROM twice' --json
    check 'with the value that counts' grep -qF '"metadata":{"b":"3","a":"2"}' "$dir/out"
    cp "$dir/out" "$dir/twice"
    check 'such a line can be published again' stored 1 copy-of-twice -e --from-json "$dir/twice"
    check 'a newline inside of an event' same 'a\nb' \
        "$(stored_json copy | sed -n '3s/.*"data": "\([^"]*\)".*/\1/p')"
    printf '{"kind":"gap","since":null,"error":"x"}\n\n{"data":"a"}\n{"data":5}\n{"data":"b"}\n' >"$dump"
    check 'a line that is wrong' fails 2 "$dump: line 4: data: give a string" publish args --from-json "$dump"
    check 'what stands before it is stored' says '1 of 1 events stored'
    check 'it was' same a "$(data args | tail -n 1)"
    head -c 4200000 /dev/zero | tr '\0' x >"$dir/large"
    printf '{"data":"a"}\n{"data":"%s"}\n' "$(cat "$dir/large")" >"$dump"
    check 'an event that is too large: its line' fails 2 \
        "$dump: line 2: publish: data of 4200000 bytes; the most is 4194304" publish args --from-json "$dump"
    head -c 33554433 /dev/zero | tr '\0' x >"$dir/large"
    check 'a line that is too long for JSON' fails 2 'line 1 has over 33554432 bytes, the most that one of' \
        publish args --from-json "$dir/large"
    rm "$dir/large"
}
twice() { # the messages that publish such an event, in hexadecimal digits
    run topics create twice
    python3 -c 'import sys
number = 0
for c in sys.argv[1]: number = number << 5 | "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(c)
field = lambda tag, b: bytes([tag, len(b)]) + b
pair = lambda k, v: field(0x1a, field(0x0a, k) + field(0x12, v))
event = field(0x12, b"x") + pair(b"a", b"1") + pair(b"b", b"3") + pair(b"a", b"2")
print("1200")
print(field(0x0a, field(0x12, number.to_bytes(16, "big")) + field(0x4a, event) + b"\x82\x01" +
            field(0, bytes(16))[1:]).hex())' "$("$ensign" topics show twice --json | sed 's/.*"id":"\([^"]*\)".*/\1/')"
}
piped() {
    "$ensign" topics create third >"$dir/out" 2>"$dir/err" &&
        "$ensign" query 'SELECT * FROM copy' --json 2>"$dir/err" |
        "$ensign" publish third --from-json - 2>"$dir/err" && says '5 of 5 events stored'
}
stored_json() { "$ensign" query "SELECT * FROM $1" --json -q | lasting; } # TOPIC
lasting() { # what is the same of an event when it is published again
    python3 -c 'import json, sys
new = {"id", "offset", "epoch", "topic", "topic_id", "created", "committed"}
for line in sys.stdin:
    event = json.loads(line, object_pairs_hook=list)
    print(json.dumps({k: v for k, v in event if k not in new and not k.startswith("publisher")}))'
}

# ---- at a terminal

typed() { # a line and ^D; with an option of publish
    TERM=dumb timeout 60 python3 tests/e2e/pty.py "$(printf 'typed\n\004')" "$ensign" publish typed -e "$@" \
        >"$dir/out"
}
types() {
    on_terminal 'events are typed' typed
    on_terminal 'typed: what to do is said' grep -q 'one a line; ^D on a line of its own ends them' "$dir/out"
    on_terminal 'typed: no progress stands between' same '' "$(grep -aF ' read, ' "$dir/out")"
    on_terminal 'typed: it is stored' grep -q '1 of 1 events stored' "$dir/out"
    on_terminal 'typed: progress where it is asked for' typed --progress
    on_terminal 'typed: there it is' grep -aq '1 read, 1 stored' "$dir/out"
}

# ---- completion of topics

completes() {
    local here="-E $ENSIGN_ENDPOINT --plaintext"
    check 'bash: topics' same 'wea' "$(completion publish wea | cut -c1-3)"
    check 'bash: topics, all of them' same "$(topic_names)" "$(completion subscribe '' | sort)"
    check 'bash: topics, one more' same weather "$(completion subscribe args weat)"
    check 'bash: topics of a command of topics' same weather "$(completion topics show weat)"
    check 'bash: one topic is enough' same '' "$(completion publish weather '')"
    check 'bash: topics, by a key that is wrong: none, and not a word' same '' \
        "$(elsewhere completion publish weat)"
    # shellcheck disable=SC2086 # words
    check 'bash: topics, by the options of the line' same weather "$(ENSIGN_ENDPOINT='' ENSIGN_INSECURE='' \
        elsewhere completion $here --client-id=$ENSIGN_CLIENT_ID --client-secret $ENSIGN_CLIENT_SECRET \
        publish weat)"
    if command -v zsh >/dev/null; then
        check 'zsh: topics' same weather "$(zsh_topics "$ensign" publish weat | grep weather)"
        # shellcheck disable=SC2086
        check 'zsh: topics, by the options of the line' same weather \
            "$(ENSIGN_ENDPOINT='' ENSIGN_INSECURE='' zsh_topics "$ensign" $here publish weat | grep weather)"
    else tap ok 'zsh: topics # SKIP no zsh'; fi
}
topic_names() { "$ensign" topics ls -q | sed -e 1d -e 's/.* //' | sort; }
completion() { # WORD...: what may stand for the last one, in bash
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _ensign
        [ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\n" "${COMPREPLY[@]}"' tools/ensign/ensign.bash "$ensign" \
        "$@" 2>&1
}
zsh_topics() { # PROGRAM WORD...: what _ensign_topics gives, with the words of _ensign
    zsh -fc 'compadd() { shift; print -l ${(P)1}; }
        _arguments() { :; }
        words=("$@[2,-1]"); source $1; typed=("${words[@]}")
        eval "$(sed -n "/^    connection=(/,/^    )/p" $1)"
        _ensign_topics' zsh tools/ensign/_ensign "$@" 2>&1
}

# ---- topics

topics() {
    check 'create: one of that name' fails 1 'ALREADY_EXISTS' topics create args
    check 'create: and what to do' says '--if-missing to take the one that is there'
    check 'create: if it is missing' prints_json 'rows[0]["name"] == "args"' topics create args --if-missing
    check 'create: a name that queries cannot read' does 0 topics create order
    check 'create: says so' says 'queries of the public service cannot read a topic of this name'
    check 'create: a bad name' fails 2 'name' topics create '1x'
    check 'create: a policy' prints_json 'rows[0]["deduplication"] == "unique-key" and
        rows[0]["deduplication_keys"] == ["a", "b"] and rows[0]["deduplication_offset"] == "earliest"' \
        topics create keyed --dedup unique-key --keys a,b --offset earliest
    check 'create: a policy, in text' does 0 topics show keyed
    check 'create: its keys are shown' grep -qx '  key          b' "$dir/out"
    check 'show: none' fails 5 'no topic' topics show nope
    check 'exists: yes' prints yes topics exists keyed
    check 'exists: no' does 5 topics exists nope
    check 'exists: says so' same no "$(cat "$dir/out")"
    check 'exists: no, as JSON' does 5 topics exists nope --json
    check 'exists: says so, too' json 'rows == [{"exists": False}]'
    run publish keyed 1 2 3
    check 'policy: what is stored is looked through' prints_json 'rows[0]["state"] in ("pending", "ready")' \
        topics policy keyed --dedup datagram
    check 'policy: no such topic' fails 5 'nope' topics policy nope --dedup none
    check 'archive' prints_json 'rows[0]["state"] == "readonly"' topics archive lines
    check 'archive: it is shown' prints_json '[r["archived"] for r in rows if r["name"] == "lines"] ==
        [True]' topics ls
    check 'rm: with --yes' prints_json 'rows[0]["state"] == "deleting"' topics rm file --yes
    check 'rm: no such topic' fails 5 'nope' topics rm nope --yes
    on_terminal 'rm: at a terminal, another name' rm_asks json all 1
    on_terminal 'rm: it is still there' does 0 topics exists json
    on_terminal 'rm: at a terminal, its name' rm_asks json json 0
    on_terminal 'rm: it is gone' does 5 topics exists json
}
rm_asks() { # TOPIC TYPED STATUS
    TERM=xterm timeout 30 python3 tests/e2e/pty.py "$2" "$ensign" topics rm "$1" >"$dir/out"
    same "$?" "$3" && grep -q "This destroys topic $1 and all its events" "$dir/out"
}

# ---- info, status, health, call, bench

services() {
    local id
    check 'status, in text' does 0 status
    check 'status: three lines' same 'state version uptime' "$(cut -d' ' -f1 "$dir/out" | xargs)"
    check 'status: of the auth service' prints_json 'rows[0]["state"] == "healthy"' status --auth
    check 'status needs no key' does 0 status --no-auth
    check 'info: of one topic' prints_json 'rows[0]["kind"] == "project" and rows[0]["topics"] == 1' info args
    id=$("$ensign" topics show args --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
    check 'info: of one, by its id' prints_json 'rows[1]["name"] == "args"' info "$id"
    check 'info: of an id that is none of them' prints_json 'rows[0]["topics"] == 0' \
        info 01GZ1ASDEPPFWD485HSQKDAS4K
    check 'info: no such topic' fails 5 'nope' info nope
    check 'info, in text' does 0 info
    check 'info: a head and a line for all' grep -qE '^ +[0-9,]+ +[0-9,]+ +[0-9.]+ [kM]?B +all$' "$dir/out"
    check 'health' prints serving health
    check 'health, as JSON' prints_json 'rows == [{"state": "serving"}]' health -s default
    check 'health: no such service' does 5 health -s nope
    check 'health: watched' prints serving health --watch --count 1
    check 'health: watched until the time is up' does 6 health -w -n 2 --timeout 200ms
    check 'health: watched, no such service' does 5 health -w -s nope -n 1
    check 'health: it says so' same service-unknown "$(cat "$dir/out")"
}
topic_hex() { printf '1a%02x%s' ${#1} "$(printf '%s' "$1" | od -An -tx1 | tr -d ' \n')"; } # a name: field 3
# The query of EnSQL as a message: field 1, a string.
sql_hex() { printf '0a%02x%s' ${#1} "$(printf '%s' "$1" | od -An -tx1 | tr -d ' \n')"; }
calls() {
    local check_method=/grpc.health.v1.Health/Check sql=/ensign.v1beta1.Ensign/EnSQL
    check 'call: hex in, hex out' prints 0801 call $check_method '' --hex
    check 'call: raw out' prints "$(printf '\010\001')" call $check_method '' --out raw
    check 'call: raw' prints "$(printf '\010\001')" call $check_method '' --raw
    check 'call: standard input' prints 0801 call --hex $check_method
    printf '0a 00\n' >"$dir/hex"
    check 'call: a file of hex' prints 0801 call $check_method --file "$dir/hex" --in hex
    printf '\012\000' >"$dir/raw"
    check 'call: a file of bytes' prints 0801 call --hex $check_method --file "$dir/raw"
    check 'call: a file that is no hex' fails 2 '--in raw takes bytes' call $check_method --in hex \
        -f "$dir/raw"
    check 'call: metadata out' does 0 call --hex $check_method '' -v -H 'x-mine: 1' -H x-mine-bin:00ff
    check 'call: it is told' says 'header: content-type: application/grpc'
    check 'call: the status, too' says 'status 0 OK'
    check 'call: as JSON' prints_json '[r["kind"] for r in rows] == ["message", "end"] and
        rows[1]["status"] == 0 and rows[1]["status_name"] == "OK"' call --hex $check_method ''
    check 'call: the server streams' does 0 call --hex $sql "$(sql_hex 'SELECT * FROM args LIMIT 4')"
    check 'call: a line for each message' test "$(wc -l <"$dir/out")" -eq 4
    check 'call: no such method' fails 5 'UNIMPLEMENTED' call --hex /a.b/c ''
    check 'call: no such method of a service' fails 5 'UNIMPLEMENTED' call --hex grpc.health.v1.Health/Nope ''
    check 'call: no such method, with gzip' fails 1 'leave out --gzip' call --hex $check_method 00 --gzip
    check 'call: a method without a slash in front' prints 0801 call --hex ${check_method#/} ''
    check 'call: no token, so it is refused' fails 4 'UNAUTHENTICATED' call --hex $sql '' --no-token
    check 'call: it says why' says '; leave out --no-token, so that the token of a key is sent'
    check 'call: a token of our own that is none' fails 4 '; change the authorization of --header' \
        call --hex $sql '' -H 'Authorization: Bearer nonsense'
    check 'call: what is there already' fails 1 'ALREADY_EXISTS' call --hex ensign.v1beta1.Ensign/CreateTopic \
        "$(topic_hex args)"
    check 'call: no option of another command is named' same '' "$(grep -- --if-missing "$dir/err")"
    check 'call: its status as JSON' does 1 call --hex $sql '' --json
    check 'call: and its words' json 'rows[-1]["status_name"] == "INVALID_ARGUMENT" and rows[-1]["text"]'
    check 'call: a method that is none' fails 2 'method' call --hex nonsense ''
}
benches() {
    check 'bench' prints_json 'rows[0]["published"] == rows[0]["stored"] == rows[0]["received"] == 500 and
        rows[0]["stored_alone"]["count"] == rows[0]["received_alone"]["count"] == 20 and
        0 < rows[0]["stored_alone"]["p50_us"] <= rows[0]["stored_alone"]["max_us"] and
        rows[0]["cpu_seconds"] > 0' bench bench -e -n 500 --trips 20 --size 100
    check 'bench: its events are there' test "$(data bench | wc -c)" -ge 52000
    check 'bench, in text' does 0 bench bench -n 100 --trips 5 --no-subscribe
    check 'bench: the figures' grep -qE '^  stored, alone( +[0-9.]+ [mu]?s){4}$' "$dir/out"
    check 'bench: no such topic' does 5 bench nope -n 10
}

# ---- hostile bytes: what came from elsewhere must not steer a terminal

hostile() {
    local nasty
    nasty=$(printf '\033[31mred\a\302\233\342\200\256\377')
    run publish nasty -e "$nasty" --meta "k$(printf '\033')=v$(printf '\033]0;x')"
    check 'text: no control character' does 0 query 'SELECT * FROM nasty'
    check 'text: none, indeed' no_controls
    check 'JSON: the bytes' prints_json 'rows[0]["data_encoding"] == "base64" and
        __import__("base64").b64decode(rows[0]["data"]) == b"\x1b[31mred\x07\xc2\x9b\xe2\x80\xae\xff" and
        rows[0]["metadata"] == {"k\x1b": "v\x1b]0;x"}' query 'SELECT * FROM nasty'
    check 'JSON: none' no_controls
    check 'raw into a pipe: as it is' prints "$nasty" query 'SELECT * FROM nasty' --raw
    on_terminal 'raw on a terminal: escaped' shows '\x1b[31mred\x07\x9b\u202e\xff' \
        query 'SELECT * FROM nasty' --raw -q
    check 'an error: escaped' fails 1 'near' query "$(printf 'SELECT * FROM x WHERE \033[31m')"
    check 'an error: none' no_controls
}
shows() { # TEXT ARGUMENT...: this alone, on a terminal of its own
    local text=$1
    shift
    TERM=dumb python3 tests/e2e/pty.py '' "$ensign" "$@" | tr -d '\r' >"$dir/out"
    same "$text" "$(cat "$dir/out")"
}
no_controls() { ! LC_ALL=C grep -n "$(printf '[\001-\010\013-\037\177]')" "$dir/out" "$dir/err"; }

# ---- signals, a closed standard output

signals() {
    local pub sub
    pipe int
    start int publish args --acks
    pub=$pid
    exec 3>"$dir/int.in"
    printf '1\n2\n3\n' >&3
    gets int 'ack 3 ' "$pub"
    kill -INT "$pub"
    check 'SIGINT ends a publisher' ends 130 int "$pub"
    check 'SIGINT: with its summary' grep -q '3 of 3 events stored, in ' "$dir/int.err"
    exec 3>&-
    start sigint subscribe args --raw
    sub=$pid
    hears sigint 'open, args' "$sub" && run publish args 4
    gets sigint 4 "$sub"
    kill -INT "$sub"
    check 'SIGINT ends a subscriber' ends 130 sigint "$sub"
    check 'SIGINT: with its summary, too' grep -q '1 event received' "$dir/sigint.err"
    start term subscribe args
    hears term 'open, args' "$pid"
    kill -TERM "$pid"
    check 'SIGTERM does, too' ends 143 term "$pid"
    silent_server
}
# The server answers nothing: a publisher waits for it at the first signal, and goes at the second.
silent_server() {
    local pub
    pipe twice
    start twice publish args --progress --close-timeout 1h --acks
    pub=$pid
    exec 3>"$dir/twice.in"
    echo 1 >&3
    gets twice 'ack 1 ' "$pub"
    kill -STOP "$server_pid"
    echo 2 >&3
    hears twice '2 read, 1 stored' "$pub"
    kill -INT "$pub"
    check 'the first signal waits for the answers' hears twice 'waits for the answers of 1 events' "$pub"
    kill -INT "$pub"
    check 'the second ends it at once' ends 130 twice "$pub"
    exec 3>&-
    pipe bound
    start bound publish args --progress --close-timeout 200ms --acks --json
    pub=$pid
    exec 3>"$dir/bound.in"
    kill -CONT "$server_pid"
    echo 1 >&3
    gets bound '"ack"' "$pub"
    kill -STOP "$server_pid"
    echo 2 >&3
    hears bound '2 read, 1 stored' "$pub"
    kill -INT "$pub"
    check 'it waits no longer than it is told' ends 130 bound "$pub"
    kill -CONT "$server_pid"
    exec 3>&-
    cp "$dir/bound.out" "$dir/out"
    check 'and tells what it does not know' json '[r["code"] for r in rows if r["kind"] == "nack"] ==
        ["OUTCOME_UNKNOWN"] and rows[-1]["acked"] == 1 and rows[-1]["unanswered"] == 1 and
        rows[-1]["refused"] == rows[-1]["not_sent"] == 0'
}
closed_output() {
    local sub
    mkfifo "$dir/gone"
    "$ensign" subscribe args --raw >"$dir/gone" 2>"$dir/gone.err" &
    sub=$!
    exec 4<"$dir/gone"
    hears gone 'open, args' "$sub"
    exec 4<&-
    check 'a reader that goes away is noticed, though nothing comes' ends 141 gone "$sub"
    check 'a reader that has enough' has_enough
    check 'a topic that is destroyed while it is read' destroyed
    if [ -e /dev/full ]; then check 'a full disk' full; else tap ok 'a full disk # SKIP no /dev/full'; fi
}
has_enough() {
    "$ensign" query 'SELECT * FROM weather' --raw 2>"$dir/err" | head -n 1 >"$dir/out"
    same "${PIPESTATUS[0]} $(cat "$dir/out")" '141 reading 000001'
}
# A pipe that nobody reads holds the query up until the topic is gone.
destroyed() {
    local query
    mkfifo "$dir/held"
    "$ensign" query 'SELECT * FROM memory' --raw >"$dir/held" 2>"$dir/query.err" &
    query=$!
    exec 4<"$dir/held"
    read -r _ <&4
    does 0 topics rm memory --yes || return 1
    until run topics exists memory; [ $status -eq 5 ]; do :; done
    cat <&4 >/dev/null
    exec 4<&-
    wait "$query"
    same "$?" 1 && grep -qF 'topic destroyed while the query ran' "$dir/query.err"
}
full() {
    "$ensign" query 'SELECT * FROM weather' --raw >/dev/full 2>"$dir/err"
    same "$?" 1 && says 'standard output: No space left on device'
}

# Descriptors that are closed are not given to sockets, and their use is an error.
closed_descriptors() {
    check 'standard output that is closed' closed_out
    check 'standard input that is closed' closed_in
}
closed_out() {
    "$ensign" topics ls >&- 2>"$dir/err"
    same "$?" 1 && says 'standard output: Bad file descriptor'
}
closed_in() {
    "$ensign" publish args <&- 2>"$dir/err"
    same "$?" 2 && says 'standard input cannot be read: Bad file descriptor'
}

# ---- keys

elsewhere() { ENSIGN_CLIENT_ID=x ENSIGN_CLIENT_SECRET=y "$@"; } # with an environment of another server
token() { # KEY SECRET: an access token, as the auth service gives it
    python3 -c 'import json, sys, urllib.request
ask = urllib.request.Request(sys.argv[1] + "/v1/authenticate", headers={"Content-Type": "application/json"},
    data=json.dumps({"client_id": sys.argv[2], "client_secret": sys.argv[3]}).encode())
print(json.load(urllib.request.urlopen(ask))["access_token"])' "$ENSIGN_AUTH_URL" "$1" "$2"
}
profiles() {
    local XDG_CONFIG_HOME=$dir/xdg profiles=$dir/xdg/ensign/profiles
    export XDG_CONFIG_HOME
    mkdir -p "$dir/xdg/ensign"
    printf '[%s]\nendpoint = %s\nplaintext = true\n%s\n' good "$ENSIGN_ENDPOINT" "credentials = $dir/good.json" \
        none "$ENSIGN_ENDPOINT" 'no-auth = true' wrong "$ENSIGN_ENDPOINT" "credentials = $dir/wrong.json" >"$profiles"
    printf '[tls]\nendpoint = %s\nplaintext = false\n' "$ENSIGN_ENDPOINT" >>"$profiles"
    check 'a profile goes before the environment' elsewhere does 0 topics ls --profile good
    check 'an option goes before the profile' does 0 topics ls --profile wrong -C "$dir/good.json"
    check 'the key of a profile is the one that is used' fails 4 'refuses this key' topics ls --profile wrong
    check 'no-auth of a profile: the key of the environment is not used' fails 4 \
        'a key is needed, and no-auth (of the profile, or an option) leaves it out' topics ls --profile none
    check 'plaintext = false of a profile goes before ENSIGN_INSECURE' fails 3 'tls: ' status --profile tls
}
keys() {
    local key=$ENSIGN_CLIENT_ID secret=$ENSIGN_CLIENT_SECRET
    printf '{"ClientID": "%s", "ClientSecret": "%s"}' "$key" "$secret" >"$dir/good.json"
    printf '{"ClientID": "%s", "ClientSecret": "wrong"}' "$key" >"$dir/wrong.json"
    check 'a wrong key' fails 4 'refuses this key' topics ls -C "$dir/wrong.json"
    check 'a wrong key, to publish' fails 4 'refuses this key' publish args x -C "$dir/wrong.json"
    check 'a wrong key, to subscribe' fails 4 'refuses this key' subscribe args -C "$dir/wrong.json"
    check 'options go before the file' does 0 topics ls -C "$dir/wrong.json" --client-id "$key" \
        --client-secret "$secret"
    check 'the file goes before the environment' elsewhere does 0 topics ls -C "$dir/good.json"
    check 'the environment is taken' elsewhere fails 4 'refuses this key' topics ls
    check 'no key, where one is needed' fails 4 '; a key is needed: leave out --no-auth' topics ls --no-auth
    profiles
    check 'a token that is none' fails 4 'give another --token, or a key: --credentials FILE' \
        topics ls --token nonsense --no-auth
    check 'a token' does 0 topics ls --no-auth --token "$(token "$key" "$secret")"
}
# A key that may subscribe and no more.
permissions() {
    server_stop
    printf '{"projects": [{"name": "p", "keys": [{"client_id": "reader", "client_secret": "s3cret",
        "permissions": ["subscriber"]}]}]}' >"$dir/keys.json"
    check 'a server with a key of few rights' server_start --memory --port 0 --auth-port 0 \
        --keys "$dir/keys.json"
    check 'no right to make a topic' fails 4 'PERMISSION_DENIED' topics create t
    check 'no right to publish' does 4 publish t x
    check 'no right to list' fails 4 'PERMISSION_DENIED' topics ls
    check 'no right to list: no topic completes, and not a word' same '' "$(completion publish '')"
}

# ---- a server that refuses, and one that breaks off

server_with() { # OPTION...
    server_stop
    server_start --memory --port 0 --auth-port 0 "$@"
}
faults() {
    seq 45 >"$dir/numbers"
    check 'a server that refuses each third event' server_with --nack-every 3
    check 'refused: exit status 1' does 1 publish numbers -e --lines "$dir/numbers"
    check 'refused: which lines' says 'line 3 is not stored: '
    check 'refused: not all of them' says 'from here on they are only counted'
    check 'refused: ten were told' test "$(grep -c 'is not stored' "$dir/err")" -eq 10
    check 'refused: how many' says '30 of 45 events stored, 15 refused, in '
    check 'refused: as JSON' does 1 publish numbers --lines "$dir/numbers" --json
    check 'refused: each of them' json '[r["line"] for r in rows if r["kind"] == "nack"] ==
        list(range(3, 46, 3)) and rows[0]["code"] == "INTERNAL" and rows[-1]["refused"] == 15'
    check 'refused: the rest is there' same "$(seq 45 | awk 'NR % 3' | head -n 30)" \
        "$(data numbers | head -n 30)"
    seq 10000 >"$dir/numbers"
    check 'a server that breaks off' server_with --cut-after-events 2000 --cut-first 3
    check 'broken off: all is stored' does 0 publish numbers -e --lines "$dir/numbers"
    check 'broken off: it says so' says '; next attempt '
    check 'broken off: how many' says '10,000 of 10,000 events stored, in '
    check 'broken off: nothing is missing' same 10000 "$(data numbers | sort -un | wc -l)"
    check 'a server in maintenance' server_with --maintenance
    check 'maintenance: status' does 1 status
    check 'maintenance: it says so' grep -q 'state    maintenance' "$dir/out"
    check 'maintenance: the rest' fails 3 'UNAVAILABLE' topics ls
    check 'an auth service that fails' server_with --refuse-auth=1 --refuse-code 503
    check 'auth: an end' fails 3 'HTTP 503' topics ls
    check 'auth: or again' server_with --refuse-auth=1 --refuse-code 503
    check 'auth: where it was asked for' does 0 topics create t --retry 20
    dies
}
# The server answers for one event, has another in hand when it is killed, and never sees two more.
dies() {
    local pub
    check 'a server that is killed' server_with
    pipe torn
    start torn publish torn -e --progress --acks --retry 4
    pub=$pid
    exec 3>"$dir/torn.in"
    echo 1 >&3
    check 'killed: one is stored' gets torn 'ack 1 ' "$pub"
    kill -STOP "$server_pid"
    echo 2 >&3
    check 'killed: one has no answer' hears torn '2 read, 1 stored' "$pub"
    server_stop KILL
    check 'killed: it says why it waits' hears torn '; next attempt ' "$pub"
    printf '3\n4\n' >&3
    check 'killed: two are too late' hears torn '4 read, 1 stored' "$pub"
    check 'killed: exit status 3' ends 3 torn "$pub"
    exec 3>&-
    check 'killed: nobody has refused them' grep -qF \
        '1 of 4 events stored, 1 without an answer (it may be stored), 2 not sent, in ' "$dir/torn.err"
}

# ---- TLS; a server that goes and comes back

tls() {
    server_stop
    check 'a server with TLS' server_start --memory --port 0 --auth-port 0 --tls --cert-file "$dir/cert.pem"
    check 'TLS: the certificate is trusted' does 0 topics create t
    check 'TLS: no TLS is refused' does 3 topics ls --plaintext
    check 'TLS: the name in the certificate counts' fails 3 'set --server-name' topics ls \
        --server-name other.example
    unset ENSIGN_CA_FILE
    check 'TLS: nobody trusts it' fails 3 'give it in --ca-file' topics ls
    check 'TLS: an option says whom to trust' does 0 topics ls --ca-file "$dir/cert.pem"
    check 'TLS: an option trusts all' does 0 topics ls --insecure-skip-verify
    check 'TLS: and says so' says 'anybody on the way can read along'
    check 'TLS: a file of no certificates' fails 3 'lines has no certificate' topics ls --ca-file "$dir/lines"
}
restart() {
    local sub text health rpc auth
    server_stop
    check 'a server that keeps all' server_start "$dir/data" --port 0 --auth-port 0
    rpc=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:}
    run topics create t
    start again subscribe t --json
    sub=$pid
    hears again 'open, t' "$sub"
    start text subscribe t
    text=$pid
    hears text 'open, t' "$text"
    start watch health --watch --json
    health=$pid
    gets watch '{"state":"serving"}' "$health"
    server_stop KILL
    check 'it goes: a subscriber goes on trying' hears again '; next attempt ' "$sub"
    check 'it goes: a health watch, too' hears watch '; next attempt ' "$health"
    check 'it comes back' server_start "$dir/data" --port "$rpc" --auth-port "$auth"
    check 'the subscription is open again' hears again 'open again' "$sub"
    check 'the other one is, too' hears text 'open again' "$text"
    check 'the health is told again' hears watch 'connected again' "$health"
    run publish t 'after all'
    check 'events come again' gets again '"data":"after all"' "$sub"
    gets text 'after all' "$text"
    check 'a gap is told once, in a sentence of its own' test "$(grep -oE 'events (can|may) be missing here' \
        "$dir/text.err" | wc -l)" -eq 1
    kill -INT "$sub" "$text" "$health"
    check 'SIGINT ends them: the one' ends 130 again "$sub"
    check 'SIGINT ends them: another' ends 130 text "$text"
    check 'SIGINT ends them: the watch' ends 130 watch "$health"
    cp "$dir/again.out" "$dir/out"
    check 'it goes: no reason is said twice' same '' "$(reasons again | uniq -d)"
    check 'it goes: nor by the watch' same '' "$(reasons watch | uniq -d)"
    check 'it goes: both told why' test -n "$(reasons again)" -a -n "$(reasons watch)"
    check 'a gap is told before' json '[r["kind"] for r in rows] == ["gap", "event"] and rows[0]["error"]'
    check 'it names its topic' json 'rows[0]["topic"] == "t"'
}

# ---- a wait says why, once for each reason: in place of silence

reasons() { # NAME: why it waited, a line each
    sed -nE 's/^ensign: waits: (.*); next attempt .*$/\1/p' "$dir/$1.err"
}
refuser() { # ANSWER...: a server that turns each call away; $refuser, and what leads there: "${there[@]}"
    : >"$dir/refuser"
    python3 tests/e2e/refuses.py "$@" >"$dir/refuser" 3>&- &
    refuser=$!
    await "$dir/refuser" '' "$refuser" || return 1
    there=(--plaintext --endpoint "127.0.0.1:$(head -n 1 "$dir/refuser")")
}
waits() {
    local sub line='ensign: waits: .*(status 404|INTERNAL_ERROR|status 500).*'
    line+='; next attempt (now|in [0-9.]+ m?s)'
    server_stop
    check 'a server that turns each call away' refuser 404 404 reset reset 500
    start away subscribe t --no-auth "${there[@]}"
    sub=$pid
    check 'turned away: a subscriber goes on' hears away 'HTTP status 500' "$sub"
    kill -INT "$sub"
    check 'turned away: SIGINT ends it' ends 130 away "$sub"
    check 'turned away: it said why, at each change' same 'status 404 INTERNAL_ERROR status 500' \
        "$(sed -nE "s/^$line\$/\1/p" "$dir/away.err" | xargs)"
    check 'turned away: and no more' test "$(wc -l <"$dir/away.err")" -eq 3
    start put publish t x --no-auth --close-timeout 100ms "${there[@]}"
    check 'turned away: a publisher says why' hears put 'waits: http: /ensign.v1beta1.Ensign/Publish' "$pid"
    kill -INT "$pid"
    check 'turned away: SIGINT ends it, too' ends 130 put "$pid"
    start well health --watch --no-auth "${there[@]}"
    check 'turned away: a watch says why' hears well 'waits: http: /grpc.health.v1.Health/Watch' "$pid"
    kill -INT "$pid"
    check 'turned away: SIGINT ends it as well' ends 130 well "$pid"
    check 'turned away: not for ever' fails 3 'waits: http:' \
        subscribe t --no-auth --retry 300ms "${there[@]}"
    check 'no auth service: a subscriber says why' fails 3 'waits: auth: no token' subscribe t --client-id x \
        --client-secret y --auth-url http://127.0.0.1:1 --retry 300ms "${there[@]}"
    check 'no auth service: a question, too' fails 3 'waits: auth: no token' topics ls --client-id x \
        --client-secret y --auth-url http://127.0.0.1:1 --retry 300ms "${there[@]}"
    kill "$refuser"
    check 'no server: a question says why it waits' fails 3 'waits: rpc: cannot connect' topics ls --no-auth \
        --plaintext --endpoint 127.0.0.1:1 --retry 300ms
    check 'no server: one that does not wait says it once' fails 3 'cannot connect' topics ls --no-auth \
        --plaintext --endpoint 127.0.0.1:1
    check 'no server: once, indeed' test "$(wc -l <"$dir/err")" -eq 1
    check 'no server: a subscriber that does not wait' fails 3 'cannot connect' subscribe t --no-auth \
        --plaintext --endpoint 127.0.0.1:1
    check 'no server: it says it once, too' test "$(wc -l <"$dir/err")" -eq 1
}

server_start --memory --port 0 --auth-port 0 || exit 1
session
check 'a file of 60 MB from a pipe, in constant memory' constant_memory
publishes
subscribes
queries
looks
again
types
completes
topics
services
calls
benches
hostile
signals
closed_output
closed_descriptors
keys
permissions
faults
tls
restart
waits
results
