#!/usr/bin/env bash
# A million events of ten topics are loaded into ensignd's store, carried to another one by --dump-all and
# --load, and are the same there but for id, offset and epoch. No process gets more than 128 MiB of addresses,
# where the dump has 500 MB. SOAK_EVENTS sets another number.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
events=${SOAK_EVENTS:-1000000}
dir=$(mktemp -d "$BUILD/dump.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
fail() { echo "not ok - $1"; exit 1; }

lines() {
    awk -v events="$events" 'BEGIN {
        project = "01GWM936SFPVHB3BYE50BV0V5G"
        for (t = 0; t < 10; t++)
            printf "{\"kind\":\"topic\",\"id\":\"01GWM936SFPVHB3BYE50BV0V0%d\",\"project_id\":\"%s\",\"name\":\"t%d\"}\n",
                t, project, t
        for (n = 0; n < events; n++)
            printf "{\"kind\":\"event\",\"topic_id\":\"01GWM936SFPVHB3BYE50BV0V0%d\",\"mimetype_number\":50,\"metadata\":" \
                "{\"number\":\"%d\"},\"created\":\"2026-01-31T12:00:00.5Z\",\"publisher\":\"soak\",\"data\":\"{\\\"n\\\": " \
                "%d, \\\"filler\\\": \\\"%060d\\\"}\"}\n", n * 7 % 10, n, n, n
    }'
}
carry() { (ulimit -v 131072 && exec "$BUILD/ensignd" "$@"); }
lasting() { sed -E 's/"(id|offset|epoch)":("[0-9a-z]{16}"|[0-9]+),//g' "$1"; }

lines | carry --data "$dir/one" --load - || fail 'no first store'
carry --data "$dir/one" --dump-all | tee "$dir/first" | carry --data "$dir/other" --load - || fail 'no second store'
carry --data "$dir/other" --dump-all >"$dir/second" || fail 'no second dump'
[ "$(grep -c '"kind":"event"' "$dir/first")" -eq "$events" ] || fail 'not all events are in the first dump'
cmp <(lasting "$dir/first") <(lasting "$dir/second") || fail 'the dumps differ'
echo "ok - $events events are the same in another store"
