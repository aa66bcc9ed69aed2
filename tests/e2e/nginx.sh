#!/usr/bin/env bash
# nginx.sh - nginx with grpc_pass before ensignd: it asks for client certificates, and ends each connection
# after 20 requests. Calls and a publisher go on; who has no certificate, or a wrong one, is told so
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
. tests/servers.sh
here nginx || { results; exit 0; }

ensign=$BUILD/ensign
requests=20 # of a connection

write_nginx() {
    cat >"$dir/nginx.conf" <<CONF
daemon off;
master_process off;
pid $dir/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
    log_format ours '\$ssl_client_s_dn \$request \$status';
    access_log $dir/access.log ours;
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
        ssl_client_certificate $dir/ca.pem;
        ssl_verify_client on;
        keepalive_requests $requests;
        client_max_body_size 0;
        client_body_timeout 1h;
        grpc_read_timeout 1h;
        grpc_send_timeout 1h;
        location / { grpc_pass $behind; }
    }
}
CONF
}
with() { # STATUS WORDS ARGUMENT...: `ensign` ends with this status, and has said the words
    local status
    timeout 60 "$ensign" "${@:3}" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    [ $status -eq "$1" ] && grep -qF -- "$2" "$dir/out" "$dir/err" && return
    echo "exit status $status"
    head -n 20 "$dir/out" "$dir/err"
    return 1
}
many() { # CALLS EVENTS CONNECTIONS: all well, over so many connections at least
    timeout 120 "$BUILD/tests/peers/many" "$1" weather "$2" >"$dir/out" 2>"$dir/err" ||
        { cat "$dir/out" "$dir/err"; return 1; }
    cat "$dir/out"
    [ "$(sed -n 's/.* stored, \([0-9]*\) connections.*/\1/p' "$dir/out")" -ge "$3" ]
}
stored() { # EVENTS: so many are on the server
    [ "$("$ensign" query 'SELECT * FROM weather' --raw 2>/dev/null | wc -l)" -ge "$1" ]
}

session() { # LABEL
    local sub
    check "$1: status"                      with 0 healthy status
    check "$1: nginx knows our name"        grep -q 'CN=client POST /ensign' "$dir/access.log"
    start sub "$ensign" subscribe weather --ensure-topic --raw --count 100
    sub=$pid
    check "$1: ensign subscribes"           says sub 'open, weather' "$sub"
    check "$1: the example publishes"       put weather 1 100
    check "$1: ensign has them all"         ends sub "$sub"
    check "$1: in order"                    diff "$dir/sub.out" <(events 1 100)
    check "$1: 300 calls beside 1,000 events are OK, over many connections" many 300 1000 $((300 / requests))
    check "$1: the events are there"        stored 1100
}

# front BEHIND: nginx in front of the server that the environment names, which it replaces there
front() {
    behind=$1
    serve nginx write_nginx nginx -e stderr -p "$dir/" -c "$dir/nginx.conf" || return
    nginx=$pid
    export ENSIGN_ENDPOINT=localhost:$port ENSIGN_CA_FILE=$dir/ca.pem
    export ENSIGN_CERT_FILE=$dir/client.pem ENSIGN_KEY_FILE=$dir/client.key
    unset ENSIGN_INSECURE
}
nginx_stop() { kill "$nginx" 2>/dev/null && await_end "$nginx"; }

check 'certificates' certificates

# ---- over a port

check 'a server without TLS'                server_start --memory --port 0 --auth-port 0
check 'nginx starts'                        front "grpc://$ENSIGN_ENDPOINT"
session port
(
    unset ENSIGN_CERT_FILE ENSIGN_KEY_FILE
    "$ensign" status >"$dir/none.out" 2>"$dir/none.err"
)
check 'without a certificate: it is told'   grep -q 'No required SSL certificate was sent' "$dir/none.err"
check 'without a certificate: nothing goes through' test ! -s "$dir/none.out"
export ENSIGN_CERT_FILE=$dir/stranger.pem ENSIGN_KEY_FILE=$dir/stranger.key
check 'a certificate of another CA: it is told' with 3 'The SSL certificate error' status
export ENSIGN_CERT_FILE=$dir/client.pem ENSIGN_KEY_FILE=$dir/stranger.key
check 'a key of another certificate'        with 2 'tls' status
unset ENSIGN_CERT_FILE ENSIGN_KEY_FILE
check '--cert and --cert-key' with 0 healthy status --cert "$dir/client.pem" \
    --cert-key "$dir/client.key"
nginx_stop
server_stop

# ---- over a Unix socket behind

check 'a server at a Unix socket'           server_start --memory --unix "$dir/socket" --auth-port 0
check 'nginx starts in front of it'         front "grpc://$ENSIGN_ENDPOINT"
session unix
nginx_stop
server_stop
results
