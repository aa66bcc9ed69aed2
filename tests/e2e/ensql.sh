#!/usr/bin/env bash
# ensql.sh - what a user of `ensign query` gets from ensignd: WHERE, a list of fields, parameters, the texts
# of errors; and with --strict the service's answers to the same queries
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh
ensign=$PWD/$BUILD/ensign
trap 'main_shell && { server_stop KILL; rm -rf "$dir"; }' EXIT
trap 'exit 130' INT TERM

run() { # ARGUMENT...: $status, $dir/out, $dir/err
    timeout 60 "$ensign" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
}
gives() { # TEXT ARGUMENT...: these rows, each data alone on a line
    run query --raw "${@:2}"
    [ $status -eq 0 ] && [ "$1" = "$(cat "$dir/out")" ] || { cat "$dir/out" "$dir/err"; return 1; }
}
refuses() { # WORDS ARGUMENT...
    run query --raw "${@:2}"
    [ $status -eq 1 ] && [ ! -s "$dir/out" ] && grep -qF -- "$1" "$dir/err" ||
        { cat "$dir/out" "$dir/err"; return 1; }
}
rows() { # COUNT ARGUMENT...
    run query --raw "${@:2}"
    [ $status -eq 0 ] && [ "$1" -eq "$(wc -l <"$dir/out")" ] || { cat "$dir/out" "$dir/err"; return 1; }
}
fill() {
    run publish orders --ensure-topic --mimetype application/json --type Order@1.2.3 --meta shop=north \
        '{"id":1,"total":9.5,"buyer":{"name":"Ada"},"paid":true}' \
        '{"id":2,"total":120,"buyer":{"name":"Bob"},"paid":false}' && [ $status -eq 0 ] || return 1
    run publish orders --mimetype application/json --meta shop=south \
        '{"id":3,"total":77,"buyer":{"name":"Adam"},"note":"it'"'"'s late"}' && [ $status -eq 0 ] || return 1
    run publish orders --mimetype text/plain 'no order' && [ $status -eq 0 ] || return 1
    run publish a.b --ensure-topic dotted
    [ $status -eq 0 ]
}
one='{"id":1,"total":9.5,"buyer":{"name":"Ada"},"paid":true}'
three='{"id":3,"total":77,"buyer":{"name":"Adam"},"note":"it'"'"'s late"}'

own_parser() {
    check 'a comparison'              gives "$one" 'SELECT * FROM orders WHERE total < 10'
    check 'a path, LIKE, AND'         gives "$three" \
        "SELECT * FROM orders WHERE buyer.name LIKE 'Ad_m' AND id > 1"
    check 'a quote in a text'         gives "$three" "SELECT * FROM orders WHERE note = 'it\\'s late'"
    check 'NOT, IN, IS NULL'          gives "$three" \
        'SELECT * FROM orders WHERE NOT id IN (1, 2) AND paid IS NULL AND id IS NOT NULL'
    check 'AND before OR'             rows 2 'SELECT * FROM orders WHERE id=1 OR id=2 AND paid=false'
    check 'parentheses'               rows 1 'SELECT * FROM orders WHERE (id=1 OR id=2) AND paid=false'
    check 'metadata'                  gives "$three" "SELECT * FROM orders WHERE @metadata.shop = 'south'"
    check 'its place'                 rows 4 'SELECT * FROM orders WHERE @offset > 0 AND @epoch > 0'
    check 'type'                      rows 2 \
        "SELECT * FROM orders WHERE @type.name = 'Order' AND @type.minor = 2"
    check 'a time'                    rows 4 "SELECT * FROM orders WHERE @created > '2001-01-01'"
    check 'MIME type and whole data'  gives 'no order' \
        "SELECT * FROM orders WHERE @mimetype = 'text/plain' AND @data LIKE '%order'"
    check 'a list of fields'          gives "$(printf '%s\n' '{"id":1,"name":"Ada"}' '{"id":2,"name":"Bob"}' \
        '{"id":3,"name":"Adam"}')" 'SELECT id, buyer.name AS name FROM orders'
    check 'fields of the event'       gives '{"id":3,"@metadata.shop":"south","@type.name":null}' \
        'SELECT id, @metadata.shop, @type.name FROM orders OFFSET 2'
    run query 'SELECT id FROM orders LIMIT 1' --json
    check 'it is JSON, without a type' grep -qF '"mimetype":"application/json"' "$dir/out"
    check 'OFFSET and LIMIT count rows' gives '{"id":2}' \
        'SELECT id FROM orders WHERE total > 9 LIMIT 1 OFFSET 1'
    check 'a quoted topic'            gives dotted 'SELECT * FROM "a.b"'
    check 'parameters'                gives '{"id":2}' \
        'SELECT id FROM orders WHERE total > :least AND paid = :paid AND buyer.name >= :name LIMIT :n' \
        -p least=double:99.5 -p paid=bool:false -p name=string:B -p n=int:1
    check 'no such parameter'         refuses 'near ":x": no parameter of this name is given' \
        'SELECT * FROM orders WHERE id = :x'
    check 'an error names its place'  refuses \
        'syntax error at position 32 near "ORDER": ORDER is not supported' \
        'SELECT * FROM orders WHERE id=1 ORDER BY id'
    check 'a function'                refuses \
        'position 12 near "(": invalid select fields statement: functions' \
        'SELECT count(id) FROM orders'
    check 'a field that is no field'  refuses 'near "@size": an event has no field of this name' \
        'SELECT @size FROM orders'
    check 'a topic is still needed'   refuses \
        'position 9 near "": invalid select fields statement' 'SELECT id'
}

strict() {
    check 'strict: WHERE is read and not applied' rows 3 "SELECT * FROM weather WHERE id = 2 AND a LIKE 'x'"
    check 'strict: so are fields'     gives "$(printf '%s\n' '{"id":1}' '{"id":2}' text)" \
        'SELECT id, b AS c FROM weather'
    check 'strict: orders begins with a keyword' refuses \
        'syntax error at position 14 near "OR": invalid topic identifier' 'SELECT * FROM orders'
    check 'strict: no NOT'            refuses 'position 32 near "id": invalid where clause' \
        'SELECT * FROM weather WHERE NOT id=1'
    check 'strict: no parameters'     refuses 'invalid where clause' \
        'SELECT * FROM weather WHERE id = :n' -p n=int:1
    check 'strict: no quoted topics'  refuses 'near "weather": invalid topic identifier' \
        "SELECT * FROM 'weather'"
    check 'strict: where the service panics' gives '' 'SELECT * FROM "weather"'
    check 'strict: no dotted paths'   refuses 'invalid select fields statement' 'SELECT a.b FROM weather'
}

server_start --memory --port 0 --auth-port 0 || exit 1
check 'there are events' fill
own_parser
server_stop
server_start --memory --port 0 --auth-port 0 --strict || exit 1
run publish weather --ensure-topic '{"id":1}' '{"id":2}' text
strict
server_stop
results
