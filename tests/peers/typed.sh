#!/usr/bin/env bash
# tests/peers/typed.sh - the examples with typed calls against the servers that they are for
#
# greeter against grpc-go's, otlp_export against the OTLP receiver of OpenTelemetry's collector, etcd_watch
# against an etcd that is killed and started again, and the part of etcd that tools/docs/typed-calls.md shows
# against the same; what protoc-gen-ensign writes for the whole of etcd's own
# rpc.proto, and with the newest nanopb.
# What is installed, by name from Go's proxy and PyPI, lies under build/peers; etcd comes from
# `tools/deps peers`. tests/peers/run calls this and counts on its 21 results; alone it wants `make examples`.
#
#   tests/peers/typed.sh install    only builds the servers, which takes minutes at first
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=build
. tests/tap.sh
. tests/examples.sh
. tests/servers.sh
. tests/page.sh

GREETER=google.golang.org/grpc/examples/helloworld/greeter_server
GREETER_VERSION=v0.0.0-20260825154716-030ee8becb20 # needs Go 1.25
COLLECTOR=go.opentelemetry.io/collector/receiver/otlpreceiver
COLLECTOR_VERSION=v0.124.0                         # needs Go 1.23
ETCD_API=go.etcd.io/etcd/api/v3@v3.5.17            # its .proto, and what that imports
GOGO=github.com/gogo/protobuf@v1.3.2
GATEWAY=github.com/grpc-ecosystem/grpc-gateway@v1.16.0
NANOPB=0.4.9.1
out=$PWD/build/peers
unset "${!ENSIGN_@}" # a key is for ensignd, which other parts have started
export ENSIGN_INSECURE=1

skip() { # RESULTS WHAT WHY
    local i
    for ((i = 0; i < $1; i++)); do tap ok "$2 # SKIP $3"; done
}

go_at_least() { # 1.MINOR
    local version
    version=$(go version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge "${1#1.}" ]
}

go_env() {
    env GOPATH="$out/go" GOBIN="$out/go/bin" GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 "$@"
}

# build NAME MODULE@VERSION PACKAGE: build/peers/go/bin/NAME, in a Go module of its own.
build() (
    mkdir -p "$out/$1" "$out/go/bin" && cd "$out/$1" || return
    [ -e go.mod ] || go_env go mod init "$1" || return
    go_env go get "$2" && { [ "$3" != . ] || go_env go mod tidy; } &&
        go_env go build -o "$out/go/bin/$1" "$3"
)

# listens NAME: sets ENSIGN_ENDPOINT to where it says that it listens.
listens() {
    local left port=''
    for ((left = 1200; left > 0; left--)); do
        port=$(sed -n 's/.*listening \(on\|at\) .*:\([0-9][0-9]*\)$/\2/p' "$dir/$1.out" "$dir/$1.err")
        [ -z "$port" ] || break
        kill -0 "$pid" 2>/dev/null || { tail -n 5 "$dir/$1.err"; return 1; }
        sleep 0.05
    done
    export ENSIGN_ENDPOINT=localhost:$port
}

build_greeter() { build greeter "$GREETER@$GREETER_VERSION" $GREETER; }
build_collector() {
    mkdir -p "$out/collector" && cp tests/peers/typed/collector.go "$out/collector/main.go" &&
        build collector "$COLLECTOR@$COLLECTOR_VERSION" .
}

# ---------------------------------------------------------------- greeter

greets() {
    start greeter "$out/go/bin/greeter" -port 0 && listens greeter || return
    [ "$($BUILD/examples/greeter world)" = 'Hello world' ]
}
refused() { # by a server without that service
    $BUILD/examples/greeter world 2>"$dir/words" && return 1
    cat "$dir/words"
    grep -q 'UNIMPLEMENTED' "$dir/words"
}
part_greeter() {
    go_at_least 1.25 || { skip 2 greeter 'Go is not here, or older than 1.25'; return; }
    check 'greeter: the server of grpc-go is built' build_greeter
    check "greeter: grpc-go's server greets" greets
}

# ---------------------------------------------------------------- otlp_export

exported() {
    listens collector && $BUILD/examples/otlp_export shop "$text"
}
printed() { # KIND WORDS...: one line of the collector's has all of it
    local line word
    line=$(grep "^$1 1 service=shop " "$dir/collector.out") || { cat "$dir/collector.out"; return 1; }
    for word in "${@:2}"; do
        case " $line " in *" $word "*) ;; *) echo "no '$word' in: $line"; return 1 ;; esac
    done
}
id_of() { sed -n "s/^$1 .* \(trace=[0-9a-f]\{32\} span=[0-9a-f]\{16\}\) .*/\1/p" "$dir/collector.out"; }
same_ids() {
    echo "log '$(id_of log)', span '$(id_of span)'"
    [ -n "$(id_of log)" ] && [ "$(id_of log)" = "$(id_of span)" ]
}
text='basket is empty, and again and again and again and again and again and again and again it is empty'
gzipped() { # one of the two is large enough to get smaller
    grep -q '^log .* gzip=[12]$' "$dir/collector.out"
}
part_otlp() {
    go_at_least 1.23 || { skip 7 otlp_export 'Go is not here, or older than 1.23'; return; }
    check "otlp_export: the collector's receiver is built" build_collector
    start collector "$out/go/bin/collector"
    check 'otlp_export: the collector takes a log record and a span' exported
    check 'otlp_export: it has the log record' printed log severity=Info "body=$text" time=true
    check 'otlp_export: it came compressed' gzipped
    check 'otlp_export: it has the span' printed span name=otlp_export kind=Client example=ensign.h order=true
    check 'otlp_export: both are of one trace' same_ids
    check 'greeter: a server without the service refuses, in words' refused
}

# ---------------------------------------------------------------- etcd_watch

no_file() { true; }
etcd_runs() { # at $port; its members talk through a socket in the folder
    mkdir -p "$dir/etcd" && cd "$dir/etcd" || return
    exec etcd --data-dir data --logger zap --listen-client-urls "http://127.0.0.1:$port" \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls unix://peers:0 \
        --initial-advertise-peer-urls unix://peers:0 --initial-cluster default=unix://peers:0
}
etcd_again() { # at the same port
    etcd_runs >>"$dir/etcd.log" 2>&1 </dev/null &
    etcd=$!
}
shows() { # NAME LINES: until it has printed so many
    local left
    for ((left = 1200; left > 0; left--)); do
        [ "$(wc -l <"$dir/$1.out")" -lt "$2" ] || return 0
        sleep 0.05
    done
    cat "$dir/$1.out" "$dir/$1.err"
    return 1
}
watcher() { # NAME CHANGES: the key that it puts is the change that others see
    start "$1" $BUILD/examples/etcd_watch members/ "$2"
}
renewed() { # until etcd counts a lease that was kept alive
    local left
    for ((left = 1200; left > 0; left--)); do
        python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1]).read().decode())' "http://127.0.0.1:$port/metrics" |
            grep -q '^etcd_debugging_lease_renewed_total [1-9]' && return
        sleep 0.05
    done
    return 1
}
killed() {
    kill -KILL "$etcd" && wait "$etcd"
    says first 'connection to localhost:' "$1"
}
in_order() { # the revisions go up by one, the first key is there, the others are changes
    cat "$dir/first.out"
    awk '$3 != "members/watcher" || $4 != "here" || $2 != (NR == 1 ? "IS" : "PUT") {bad = 1}
        NR > 1 && $1 != last + 1 {bad = 1} {last = $1} END {exit bad || NR != 4}' "$dir/first.out"
}
shown() { # what the page shows of etcd
    local into=$dir/page
    mkdir -p "$into" && block proto 2 >"$into/etcd.proto" && block options 2 >"$into/etcd.options" || return
    protoc "-I$into" --plugin=protoc-gen-ensign=tools/protoc-gen-ensign "--nanopb_opt=-I$into" \
        "--ensign_opt=-I$into" "--nanopb_out=$into" "--ensign_out=$into" etcd.proto || return
    {
        printf '#define ENSIGN_IMPLEMENTATION\n#include "ensign.h"\n#include "etcd.ensign.h"\n#include <stdio.h>\n'
        printf 'static int fail(const ensign_error_t *why) { puts(why->text); return 1; }\n'
        block_of range
        block_of watch_key
        block_of keep_alive
        cat <<'C'
static int watched(ensign_t *c)
{
    etcdserverpb_WatchResponse response = etcdserverpb_WatchResponse_init_zero;
    ensign_call_t call = etcdserverpb_Watch_Watch_open(c, NULL);
    const ensign_notice_t *n;
    int rc = watch_key(c, call);

    if (rc == ENSIGN_OK) rc = ENSIGN_AGAIN;
    while (rc == ENSIGN_AGAIN) {
        if (ensign_await(c, call.id, 10000, &n) != ENSIGN_OK) return fail(ensign_error(c));
        rc = etcdserverpb_Watch_Watch_read(c, n, &response);
    }
    if (rc != ENSIGN_OK) return fail(ensign_error(c));
    puts("watched");
    return 0;
}

int main(void)
{
    ensign_desc_t desc = { 0 };
    ensign_error_t why;
    ensign_t *c;
    int rc;

    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    rc = range(c, "members/") || keep_alive(c, 1) || watched(c); /* there is no lease 1: its TTL is 0 */
    ensign_destroy(c);
    return rc;
}
C
    } >"$into/main.c"
    gcc -std=c99 -I. -idirafter /usr/include/nanopb -o "$into/main" "$into/main.c" "$into/etcd.pb.c" \
        -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb || return
    diff <("$into/main") <(printf '%s\n' 'members/watcher: here' 'it lives for 0 s' watched)
}
part_etcd() {
    local first second
    if ! command -v etcd >/dev/null && [ -z "${CI:-}" ]; then skip 10 etcd_watch 'etcd is not here'; return; fi
    check 'etcd_watch: etcd starts' serve etcd no_file etcd_runs
    etcd=$pid
    export ENSIGN_ENDPOINT=localhost:$port
    watcher first 3
    first=$pid
    check 'etcd_watch: it puts a key, and a Range gives it' shows first 1
    check 'etcd_watch: it keeps its lease alive' renewed
    watcher second 1
    second=$pid
    check 'etcd_watch: a change comes to the watch' shows first 2
    check 'etcd_watch: etcd is killed, and it says why nothing comes' killed "$first"
    etcd_again
    watcher third 9
    check 'etcd_watch: etcd is back, and a change comes' shows first 3
    check 'etcd_watch: to another watcher, too, which ends' ends second "$second"
    watcher fourth 9
    check 'etcd_watch: it ends after as many changes as it was told' ends first "$first"
    check 'etcd_watch: it has each change once, over the restart' in_order
    check 'typed-calls.md: a range, a keep-alive and a oneof' shown
}

# ---------------------------------------------------------------- etcd's own .proto

whole() { # gogo.proto and annotations.proto bring options of others, and no message
    local modules=$out/go/pkg/mod into=$dir/whole cc
    local without=-xgogoproto/gogo.proto,-xgoogle/api/annotations.proto
    (cd "$dir" && go_env go mod download $ETCD_API $GOGO $GATEWAY) || return
    mkdir -p "$into/etcd" && ln -s "$modules/${ETCD_API}" "$into/etcd/api" || return
    protoc "-I$into" "-I$modules/$GOGO" "-I$modules/$GATEWAY/third_party/googleapis" \
        --plugin=protoc-gen-ensign=tools/protoc-gen-ensign "--nanopb_opt=$without" "--ensign_opt=$without" \
        "--nanopb_out=$into" "--ensign_out=$into" \
        etcd/api/etcdserverpb/rpc.proto etcd/api/mvccpb/kv.proto etcd/api/authpb/auth.proto || return
    echo '#include "etcd/api/etcdserverpb/rpc.ensign.h"' >"$into/all.c"
    for cc in 'gcc -std=c99 -x c' 'g++ -std=c++11 -x c++'; do
        $cc -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only -I. "-I$into" \
            -idirafter /usr/include/nanopb "$into/all.c" || return
    done
    grep -q etcdserverpb_Maintenance_Snapshot_read "$into/etcd/api/etcdserverpb/rpc.ensign.h"
}
part_whole() {
    go_at_least 1.21 || { skip 1 "etcd's own rpc.proto" 'Go is not here, or older than 1.21'; return; }
    check "protoc-gen-ensign with the whole of etcd's own rpc.proto" whole
}

# ---------------------------------------------------------------- the newest nanopb

newest() {
    local venv=$out/nanopb
    [ "$("$venv/bin/nanopb_generator" --version 2>/dev/null)" = "nanopb-$NANOPB" ] ||
        { rm -rf "$venv" && python3 -m venv "$venv" && "$venv/bin/pip" install -q "nanopb==$NANOPB"; } || return
    PATH=$venv/bin:$PATH tests/compile/typed.sh >"$dir/newest"
    grep '^not ok' -A 40 "$dir/newest" && return 1
    grep -q "nanopb-$NANOPB" "$dir/newest"
}
part_newest() {
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        { skip 1 "protoc-gen-ensign with nanopb $NANOPB" 'Python is without venv'; return; }
    check "protoc-gen-ensign with nanopb $NANOPB" newest
}

mkdir -p "$out"
if [ "${1-}" = install ]; then
    if go_at_least 1.25; then build_greeter; fi
    if go_at_least 1.23; then build_collector; fi
    exit
fi
part_greeter
part_otlp
part_etcd
part_whole
part_newest
results
