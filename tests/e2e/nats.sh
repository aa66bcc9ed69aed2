#!/usr/bin/env bash
# nats.sh - two ensignd over one nats-server: what is published at one is received and queried at the other,
# what is made at one is known at the other, and a nats-server that is killed while events flow loses none.
# Without nats-server, which tools/nats_server builds, or without libnats, it is skipped.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
ensign=$PWD/$BUILD/ensign
ensignd=${ENSIGND:-$PWD/$BUILD/ensignd}
nats=${NATS_SERVER:-$PWD/build/nats/nats-server}
nats_pid=''
declare -A node=()
end() { # PID: and waits until it is gone
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
end_all() {
    for pid in "${node[@]}" $nats_pid; do end "$pid"; done
    rm -rf "$dir"
}
trap 'main_shell && end_all' EXIT
trap 'exit 130' INT TERM
unset "${!ENSIGN_@}"

until_true() { # COMMAND...: tries again for a minute
    local left
    for ((left = 1200; left > 0; left--)); do
        "$@" && return
        sleep 0.05
    done
    return 1
}

# ---- the servers

port_file() { find "$dir" -maxdepth 1 -name 'nats-server_*.ports' | head -n 1; }
listens() { # the port, once its file is whole
    local file
    kill -0 "$nats_pid" || return
    file=$(port_file)
    [ -n "$file" ] && grep -q '}' "$file" && port=$(sed -n 's/.*nats:\/\/127\.0\.0\.1:\([0-9]*\).*/\1/p' "$file") &&
        [ -n "$port" ]
}
nats_start() { # PORT; -1: the kernel chooses
    printf '%s\n' "listen: 127.0.0.1:$1" "ports_file_dir: \"$dir\"" 'max_payload: 8MB' \
        "jetstream { store_dir: \"$dir/data\" }" >"$dir/nats.conf"
    "$nats" -c "$dir/nats.conf" >>"$dir/nats.log" 2>&1 &
    nats_pid=$!
    until_true listens
}
nats_again() { # killed, and back on its port
    end "$nats_pid"
    rm -f "$(port_file)"
    nats_start "$port"
}
node_start() { # NAME
    rm -f "$dir/$1.env"
    "$ensignd" --store "nats://127.0.0.1:$port" --port 0 --auth-port 0 --env-file "$dir/$1.env" \
        >"$dir/$1.log" 2>&1 </dev/null &
    node[$1]=$!
    node_ready() { [ -s "$dir/$1.env" ] || ! kill -0 "${node[$1]}" 2>/dev/null; }
    until_true node_ready "$1" && [ -s "$dir/$1.env" ] || { cat "$dir/$1.log"; return 1; }
}
at() { # NODE ARGUMENT...: ensign there
    (. "$dir/$1.env" && timeout 100 "$ensign" "${@:2}") 2>"$dir/err" </dev/null
}

# ---- what is tried

gives() { # TEXT COMMAND...
    local wanted=$1
    shift
    "$@" >"$dir/out" && [ "$wanted" = "$(cat "$dir/out")" ] || { cat "$dir/out" "$dir/err"; return 1; }
}
is_there() { gives "$1" at "$2" query --raw "SELECT * FROM $3"; }
names() { at "$1" topics ls 2>/dev/null | grep -q "$2"; }
same_keys() { cmp <(grep CLIENT "$dir/a.env") <(grep CLIENT "$dir/b.env"); }
group_is_refused() {
    at a subscribe first --group workers --count 1 >"$dir/out"
    [ $? -ne 0 ] && grep -qF 'no consumer groups' "$dir/err" || { cat "$dir/out" "$dir/err"; return 1; }
}
listen() { # NODE TOPIC COUNT FILE: in the background, once it is open; $listener
    (. "$dir/$1.env" && exec timeout 120 "$ensign" subscribe "$2" --raw --count "$3") >"$4" 2>"$dir/listen" </dev/null &
    listener=$!
    until_true grep -q open "$dir/listen"
}
is_counted() { # COUNT FILE: 1 to COUNT, in this order
    cmp <(seq 1 "$1") "$2"
}
live() {
    listen b second 2000 "$dir/live" || return
    seq 1 2000 | (. "$dir/a.env" && timeout 60 "$ensign" publish second --no-progress 2>"$dir/err") || return
    wait "$listener" && is_counted 2000 "$dir/live"
}
stored() { at "$1" query --raw "SELECT * FROM $2" >"$dir/stored" && is_counted "$3" "$dir/stored"; }

# The publisher goes on while nats-server is away, and each kill is behind an ack that came since the last.
acks_grow() { [ "$(wc -l <"$dir/acks")" -gt "$1" ]; }
killed() {
    local had
    at a topics create third >/dev/null || return
    listen b third 6000 "$dir/live" || return
    : >"$dir/acks"
    seq 1 6000 | (. "$dir/a.env" && exec timeout 120 "$ensign" publish third --no-progress --acks --rate 2000 \
        >"$dir/acks" 2>"$dir/err") &
    publisher=$!
    for _ in 1 2 3; do
        had=$(wc -l <"$dir/acks")
        until_true acks_grow "$had" && nats_again || return
    done
    wait "$publisher" || { cat "$dir/err"; return 1; }
    [ "$(wc -l <"$dir/acks")" -eq 6000 ] && wait "$listener" && is_counted 6000 "$dir/live"
}

# ---- to another engine, and back

lasts() { sed -E 's/"(id|offset|epoch)":("[0-9a-z]{16}"|[0-9]+),//g' "$dir/$1"; } # what another log keeps too
carried() { # FROM TO, after --store: all is the same there
    "$ensignd" --store "$1" --dump-all >"$dir/dump" && "$ensignd" --store "$2" "${@:3}" --load "$dir/dump" &&
        "$ensignd" --store "$2" "${@:3}" --dump-all >"$dir/again" && [ "$(grep -c event "$dir/again")" -gt 6000 ] &&
        cmp <(lasts dump) <(lasts again)
}

if [ ! -x "$nats" ]; then
    tap ok "nats-server is here # SKIP no nats-server; tools/nats_server builds it"
    results
    exit
fi
if "$ensignd" --store nats://127.0.0.1:1,127.0.0.1:1 --port 0 --auth-port 0 2>&1 | grep -q 'built without it'; then
    tap ok "ensignd has the engine on NATS # SKIP it was built without libnats"
    results
    exit
fi
check 'nats-server starts' nats_start -1
check 'an ensignd starts on it' node_start a
check 'and another one' node_start b
check 'they have the same keys' same_keys
check 'a topic is made at one' at a topics create first
check 'the other one knows it' until_true names b first
check 'an event is published there' at b publish first hello
check 'and queried at the first one' until_true is_there hello a first
check 'a group is refused, with a reason' group_is_refused
check 'a second topic' at b topics create second
check 'what is published at one is received at the other' live
check 'and stored in that order' stored b second 2000
check 'nats-server is killed three times while events flow' killed
check 'all of them are stored once, in order' stored a third 6000
end "${node[a]}"
check 'a node that comes back has all' node_start a
check 'and says the same' stored a third 6000
check 'all is carried from NATS into a folder' carried "nats://127.0.0.1:$port" "$dir/folder"
check 'and from there into NATS' carried "$dir/folder" "nats://127.0.0.1:$port" --project-prefix other
check 'a topic is destroyed at one' at b topics rm second --yes
gone() { ! names a second; }
check 'and gone at the other' until_true gone
results
