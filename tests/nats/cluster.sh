#!/usr/bin/env bash
# tests/nats/cluster.sh - kill each process of tools/cluster/up, and miss nothing
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

unless() { # WHY: the one result
    tap ok "a cluster # SKIP $1"
    results
    exit 0
}
[ -x "${NATS_SERVER:-build/nats/nats-server}" ] || unless "no nats-server; tools/nats_server builds it"
"$BUILD/ensignd" --store nats://127.0.0.1:1 2>&1 | grep -q libnats-dev && unless "ensignd is without libnats"

CLUSTER=$dir/cluster tools/cluster/up --new >"$dir/up" 2>&1 &
up=$!
end() {
    main_shell || return
    kill -TERM "$up" 2>/dev/null
    wait "$up" 2>/dev/null
    rm -rf "$dir"
}
trap end EXIT

ensign() { timeout 60 "$BUILD/ensign" "$@"; }
nth() { cut -d, -f"$2" <<<"$1"; } # LIST N
at() { # N COMMAND...: with the service of that node alone, and the auth service of another one
    local n=$1
    shift
    ENSIGN_ENDPOINT=$(nth "$ENSIGN_ENDPOINT" "$n") \
        ENSIGN_AUTH_URL=$(nth "$ENSIGN_AUTH_URL" $((n % 3 + 1))) "$@"
}
same_keys() { [ "$(sort -u "$dir"/cluster/env-? | grep -c CLIENT_)" -eq 6 ]; }
pid_of() { grep -E "^([0-9:]+ )?$1[, ]" "$dir/up" | tail -n 1 | sed 's/.*pid //'; } # NAME
publish() { seq "$1" "$2" | ensign publish numbers; }
# What node N has of a topic, once it is as large as the wanted file. It may be behind, for as long as it
# has not missed a nats-server that was killed.
has() { # N TOPIC WANTED
    local left=60
    until at "$1" ensign query "SELECT * FROM $2" --raw >"$dir/got" &&
        [ "$(wc -c <"$dir/got")" -ge "$(wc -c <"$3")" ]; do
        [ $((left -= 1)) -gt 0 ] || break
        sleep 0.5
    done
    cmp "$3" "$dir/got"
}

# Kills a process, publishes ten more at the addresses of all, and waits until the process is there again.
kill_and_publish() { # NAME FROM
    local old log=$dir/cluster/$1.log words='Server is ready'
    old=$(pid_of "$1")
    [[ $1 = nats-* ]] || words='ensignd: ready'
    : >"$log"
    kill -KILL "$old" && publish "$2" $(($2 + 9)) &&
        await "$dir/up" "$1, pid $old, has ended; it runs again" "$up" 60 &&
        await "$log" "$words" "$up" 60 && return
    tail -n 20 "$dir"/cluster/*.log
    return 1
}
# The largest that a client can publish has 4,194,257 bytes.
large() {
    { head -c 4190000 /dev/zero | tr '\0' x && echo; } >"$dir/large" && at 1 ensign topics create large &&
        at 3 ensign publish large --lines "$dir/large" && has 2 large "$dir/large"
}
all_gone() {
    local name
    for name in {nats,ensignd}-{1,2,3}; do gone "$(pid_of "$name")" || return 1; done
}

check 'six processes get ready' await "$dir/up" '^C ends all' "$up" 120
[ -s "$dir/cluster/env" ] || { sed 's/^/# /' "$dir/up"; results; exit 1; }
. "$dir/cluster/env"
check 'all ensignd have the same keys, made at the same time' same_keys
check 'a topic is made at one' at 1 ensign topics create numbers
check 'it is there at another at once, with a token of the third' at 2 ensign topics show numbers
check 'an event of nearly 4 MiB goes from one to another' large
from=1
for name in nats-1 ensignd-1 nats-2 ensignd-2 nats-3 ensignd-3; do
    check "$name is killed, and ten events are stored" kill_and_publish "$name" $from
    from=$((from + 10))
done
seq 60 >"$dir/numbers"
for n in 1 2 3; do check "ensignd-$n has all in order, each once" has "$n" numbers "$dir/numbers"; done
kill "$up"
check 'SIGTERM, as ^C, ends the command' await_end "$up" 60
check 'and all six processes' all_gone
results
