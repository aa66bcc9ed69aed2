#!/usr/bin/env bash
# openssl.sh - examples/openssl.c, whose TLS is OpenSSL's (tls.external), against ensignd, nginx and servers
# of OpenSSL: the service and its auth service over TLS, TLS 1.3 beside plaintext, a connection that is cut,
# and servers that are not to be trusted
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
. tests/servers.sh

example=$BUILD/examples/openssl
if [ ! -x "$example" ] || ! command -v openssl >/dev/null; then
    lacks="$example or openssl is missing: libssl-dev and openssl are needed"
    if [ -n "${CI-}" ]; then echo "not ok 1 - $lacks"; else echo "ok 1 - # SKIP $lacks"; fi
    echo 1..1
    exit
fi

# does STATUS OUT ERR ARGUMENT...: it ends with this status; a line of its output and one of its standard
# error match; '': there is nothing at all
does() {
    timeout 60 "$example" "${@:4}" >"$dir/out" 2>"$dir/err" </dev/null
    local status=$?
    [ $status -eq "$1" ] && line "$dir/out" "$2" && line "$dir/err" "$3" && return
    echo "exit status $status"
    head -n 20 "$dir/out" "$dir/err"
    return 1
}
line() { # FILE PATTERN
    if [ -z "$2" ]; then [ ! -s "$1" ]; else grep -qxE -- "$2" "$1"; fi
}
each='[0-9]+ ns of CPU each'
opens='openssl: open, TLSv1\.[23], [A-Z0-9_-]+, kTLS (off|in|out|out and in)'

# ---- ensignd

both_ways() {
    local sub
    check 'events go to ensignd' \
        does 0 "1000 events acked, $each" "$opens" publish weather 1000
    start sub timeout 60 "$example" subscribe weather 500
    sub=$pid
    check 'a subscriber'                        says sub 'openssl: open, ' "$sub"
    start ours "$subscribe" -n 500 weather
    check 'and one over mbedTLS'                says ours 'subscribe: open' "$pid"
    check 'events that are larger than a record' \
        does 0 "500 events acked, $each" "$opens" publish weather 500 40000
    check 'the subscriber has them all'         ends sub "$sub"
    check 'it says so'                          line "$dir/sub.out" "500 events received, $each"
    check 'the other one, too'                  ends ours "$pid"
}

refusals() {
    local stranger='openssl: auth: no token: tls: your own .* has failed: the certificate is not trusted.*'
    local CA=$ENSIGN_CA_FILE
    unset ENSIGN_CA_FILE
    check 'a certificate that nobody vouches for' does 1 '' "$stranger" publish weather 1
    check 'OpenSSL says why'                    line "$dir/err" 'openssl: self-signed certificate'
    export ENSIGN_CA_FILE=$dir/none
    check 'no such file'                        does 1 '' 'openssl: ENSIGN_CA_FILE, .*' publish weather 1
    ENSIGN_CA_FILE=$CA
    ENSIGN_INSECURE=1 check 'plaintext is refused' \
        does 1 '' 'openssl: client: tls.off \(ENSIGN_INSECURE\) and tls.external are both set: .*' \
        publish weather 1
    check 'a name and a number are needed'      does 2 '' 'usage: .*' publish weather
    check 'one way or the other'                does 2 '' 'usage: .*' both weather 1
}

# ---- nginx, which speaks TLS 1.3, before an ensignd without TLS: then the auth service is in plaintext

write_nginx() {
    cat >"$dir/nginx.conf" <<CONF
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $dir/nginx.body;
    proxy_temp_path $dir/nginx.proxy;
    fastcgi_temp_path $dir/nginx.fastcgi;
    scgi_temp_path $dir/nginx.scgi;
    uwsgi_temp_path $dir/nginx.uwsgi;
    server {
        listen 127.0.0.1:$port ssl http2;
        server_name localhost;
        ssl_certificate $dir/server.pem;
        ssl_certificate_key $dir/server.key;
        ssl_protocols TLSv1.3;
        client_max_body_size 0;
        client_body_timeout 1h;
        grpc_read_timeout 1h;
        grpc_send_timeout 1h;
        location / { grpc_pass $behind; }
    }
}
CONF
}
newer() {
    here nginx || return
    check 'certificates'                        certificates
    check 'a server without TLS'                server_start --memory --port 0 --auth-port 0
    behind=grpc://$ENSIGN_ENDPOINT
    check 'nginx before it' \
        serve nginx write_nginx nginx -e stderr -p "$dir/" -c "$dir/nginx.conf"
    nginx=$pid
    export ENSIGN_ENDPOINT=localhost:$port ENSIGN_CA_FILE=$dir/ca.pem
    unset ENSIGN_INSECURE
    check 'events go through it by TLS 1.3' \
        does 0 "1000 events acked, $each" "${opens/\[23\]/3}" publish weather 1000
    kill "$nginx"
    await_end "$nginx"
    server_stop
}

# ---- servers of OpenSSL that are not what was asked for

peer=''
peer_stop() {
    [ -n "$peer" ] || return 0
    exec 4>&-
    kill "$peer" 2>/dev/null
    wait "$peer" 2>/dev/null
    peer=''
}
peer_start() { # CERTIFICATE [OPTION...]: s_server with $dir/CERTIFICATE.pem
    local name=$1
    shift
    peer_stop
    rm -f "$dir/in"
    mkfifo "$dir/in" && exec 4<>"$dir/in"
    : >"$dir/peer"
    openssl s_server -accept 127.0.0.1:0 -cert "$dir/$name.pem" -key "$dir/$name.key" "$@" \
        <"$dir/in" >"$dir/peer" 2>&1 &
    peer=$!
    await "$dir/peer" ACCEPT "$peer" || return 1
    ENSIGN_ENDPOINT=localhost:$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$dir/peer")
    ENSIGN_CA_FILE=$dir/$name.pem
}
self() { # NAME HOST: $dir/NAME.key and .pem
    openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1.key" \
        -subj "/CN=$1" -days 3650 -addext "subjectAltName=$2" -out "$dir/$1.pem"
}
failed() { # WORDS
    local said="openssl: tls: your own TLS \(tls\.external\) with localhost:[0-9]+ has failed: $1"
    does 1 '' "$said" publish weather 1
}
others() {
    unset ENSIGN_CLIENT_ID ENSIGN_CLIENT_SECRET ENSIGN_AUTH_URL
    export ENSIGN_ENDPOINT ENSIGN_CA_FILE
    check 'certificates are made'               eval 'self here DNS:localhost && self there DNS:there.example'
    check 'a server for another host'           peer_start there -alpn h2
    check 'it is refused'                       failed 'the certificate is for another host'
    check 'a server without ALPN'               peer_start here
    check 'it is refused, too'                  failed 'the server does not offer HTTP/2 on this port'
    check 'a server that is older than TLS 1.2' peer_start here -alpn h2 -tls1_1 -cipher DEFAULT@SECLEVEL=0
    check 'it is refused as well'               failed 'the TLS handshake or a record failed.*'
    peer_stop
}

end() {
    main_shell || return
    peer_stop
    finish
}
trap end EXIT

check 'a server with TLS'       server_start --memory --port 0 --auth-port 0 --tls --cert-file "$dir/cert.pem"
both_ways
refusals
server_stop
check 'a server that cuts a connection' server_start --memory --port 0 --auth-port 0 --tls \
    --cert-file "$dir/cert.pem" --cut-after-events 300 --cut-first 1
check 'all are acked over the next one' \
    does 0 "1000 events acked, $each" 'openssl: rpc: the connection .* is gone: .*' publish weather 1000
server_stop
newer
others
results
